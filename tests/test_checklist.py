import re
from pathlib import Path

import pytest

from ulna.report.checklist import COLUMNS, read_checklist

SOURCE = Path(__file__).resolve().parents[1] / "src" / "ulna" / "report"
TABLE = read_checklist()


def sections() -> set[str]:
    """The anchors of the report, from its source."""
    found = {"verdict"}
    for path in SOURCE.glob("chapters*.py"):
        found |= set(re.findall(r"section\(\s*\"([a-z-]+)\"", path.read_text()))
    return found


def test_both_guidelines_are_whole():
    """CLAIM 2024 has 44 items, TRIPOD+AI 27."""
    assert tuple(TABLE.columns) == COLUMNS
    items = {name: list(rows["item"]) for name, rows in TABLE.groupby("guideline")}
    assert items["CLAIM 2024"] == [str(number) for number in range(1, 45)]
    assert items["TRIPOD+AI"] == [str(number) for number in range(1, 28)]


@pytest.mark.promise("E33")
def test_every_item_has_its_place_or_its_reason():
    for row in TABLE.itertuples():
        if row.place:
            assert row.place in sections(), row
        else:
            assert row.note.startswith("not applicable: "), row
