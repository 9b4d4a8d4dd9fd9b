for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    // A number, alone or before its interval; else the text.
    const value = (row) => {
      const text = row.cells[column].textContent;
      const plain = text.replace("\u2212", "-").replaceAll(",", "").replace("< ", "");
      const match = plain.match(/^-?[0-9.]+(?= \(|$)/);
      return match ? Number(match[0]) : text;
    };
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [left, right] = [value(a), value(b)];
        // Text, such as "too few", is below the numbers in either order.
        if (typeof left !== typeof right) return typeof left === "number" ? -1 : 1;
        return (left < right ? -1 : left > right ? 1 : 0) * (rising ? 1 : -1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}

// A link to a section shows what is folded in it.
const reveal = () => {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  const folded = target && target.querySelector(":scope > details");
  if (folded) folded.open = true;
};
addEventListener("hashchange", reveal);
reveal();
addEventListener("keydown", (event) => {
  const close = document.querySelector(".picture:target .close");
  if (event.key === "Escape" && close) close.click();
});
addEventListener("beforeprint", () => {
  document.querySelectorAll("details").forEach((folded) => { folded.open = true; });
});

// What is wider than the screen says so.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const known = target.previousElementSibling;
    const hint = known && known.className === "hint" ? known : null;
    if (target.scrollWidth <= target.clientWidth + 1) { if (hint) hint.remove(); continue; }
    if (hint) continue;
    const text = document.createElement("p");
    text.className = "hint";
    text.textContent = "Wider than the screen: scroll sideways \u2192";
    target.before(text);
  }
});
document.querySelectorAll(".wide").forEach((wide) => widths.observe(wide));

// The contents mark the section that is on the screen.
const links = new Map([...document.querySelectorAll("nav li a")].map((a) => [a.hash.slice(1), a]));
const shown = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    links.forEach((link) => link.removeAttribute("aria-current"));
    links.get(target.id).setAttribute("aria-current", "true");
  }
}, { rootMargin: "-20% 0px -70% 0px" });
links.forEach((link, id) => shown.observe(document.getElementById(id)));
