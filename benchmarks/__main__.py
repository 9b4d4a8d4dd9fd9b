"""Run every benchmark, each in a process of its own, and write benchmarks/results.md.

    python -m benchmarks [NAME ...]

With names, only those are run; their rows replace the old ones and the others stay.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.timing import Row, loop_seconds
from ulna.core import cores

FOLDER = Path(__file__).parent
ROWS = FOLDER / "results.json"
TABLE = FOLDER / "results.md"
# In the order of the table: what the network waits for, then the pipeline around it.
BENCHMARKS = {
    "input_pipeline": "Input pipeline",
    "training": "Training",
    "preprocess": "Preprocess",
    "frozen_backbone": "Frozen backbone",
    "onnx_runtime": "ONNX files",
    "intervals": "Intervals",
    "predict": "Predict",
    "no_op": "No-op `dvc repro`",
    "fresh_clone": "From a fresh clone to the report",
    "scale": "Scale",
    "evaluation": "Evaluation at MURA's test size",
}
PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-learn", "opencv-python-headless",
            "pillow", "dvc")  # fmt: skip


def processor() -> str:
    """Return the name of the processor, as the machine gives it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(name: str) -> dict:
    """Run one benchmark.

    Args:
        name: A module of this folder.

    Returns:
        Its rows, the date, and what the machine was like before it.
    """
    speed = loop_seconds()
    load = os.getloadavg()[0]
    rows = FOLDER / f"{name}.json"
    try:
        subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--json", str(rows)],
            cwd=FOLDER.parent,
            check=True,
        )
        result = json.loads(rows.read_text(encoding="utf-8"))
    finally:
        rows.unlink(missing_ok=True)
    return {"date": time.strftime("%Y-%m-%d"), "loop_s": speed, "load": load, "rows": result}


def table(measured: dict[str, dict]) -> str:
    """The results as Markdown."""
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    lines = [
        "# Benchmarks",
        "",
        "`make bench` writes this page. Contenders take turns in one run; a figure is the median "
        "of the rounds with the lowest and highest, a ratio the median of the rounds' ratios.",
        "",
        f"- Machine: {processor()}, {cores()} cores, {platform.system()}, no GPU in use.",
        f"- Python {platform.python_version()}, {versions}.",
        "",
    ]
    for name, title in BENCHMARKS.items():
        if name not in measured:
            continue
        found = measured[name]
        lines += [
            f"## {title}",
            "",
            f"{found['date']}; 20 million additions in Python took {found['loop_s']:.1f} s just "
            f"before, load average {found['load']:.1f}.",
            "",
            "| What | Ours | Peer or limit | Ratio | Aim | Met |",
            "|---|---|---|---|---|---|",
        ]
        rows = [Row(**row) for row in found["rows"]]
        met = {True: "yes", False: "**no**", None: ""}
        lines += [
            f"| {row.what} | {row.ours} | {row.other} | {row.ratio} | {row.aim} | {met[row.met]} |"
            for row in rows
        ]
        notes = [row.note for row in rows if row.note]
        lines += ["", *[f"- {note}" for note in dict.fromkeys(notes)], ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"


def main() -> None:
    """Run what was asked for and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark is called {unknown[0]}: there are {', '.join(BENCHMARKS)}")
    measured = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.exists() else {}
    for name in names:
        print(f"== {BENCHMARKS[name]}", flush=True)
        measured[name] = measure(name)
        # After each: a run that is stopped keeps what it has.
        ROWS.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        TABLE.write_text(table(measured), encoding="utf-8")
    missed = [row["what"] for found in measured.values() for row in found["rows"]
              if row["met"] is False]  # fmt: skip
    print(f"{TABLE.relative_to(FOLDER.parent)} written; aims not met: {len(missed)}")
    for what in missed:
        print(f"  {what}")


if __name__ == "__main__":
    main()
