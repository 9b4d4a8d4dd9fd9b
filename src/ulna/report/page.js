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
