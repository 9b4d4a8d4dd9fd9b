import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, findfont
from PIL import Image

from ulna.figures.names import NETWORK_COLOURS
from ulna.figures.style import DPI, HOUSE, LABEL_COLOURS, PUBLISHED, new_figure, write_png

REPOSITORY = Path(__file__).resolve().parents[1]

DRAW = """
import sys
from pathlib import Path
import pandas as pd
from ulna.figures.exhibits import split_sizes
from ulna.figures.style import (write_png)
columns = ["body_part", "split", "label", "studies", "images"]
sizes = pd.DataFrame([("HAND", "train", 0, 1234, 2345), ("HAND", "val", 1, 5, 6)], columns=columns)
write_png(Path(sys.argv[1]), split_sizes(sizes))
assert "matplotlib.pyplot" not in sys.modules
"""


def draw(path, home, **environment):
    home.mkdir(exist_ok=True)
    known = {"PYTHONPATH": str(REPOSITORY / "src"), "PATH": os.environ["PATH"]}
    subprocess.run(
        [sys.executable, "-c", DRAW, str(path)],
        env=known | {"HOME": str(home), "MPLCONFIGDIR": str(home)} | environment,
        check=True,
        capture_output=True,
    )
    return path.read_bytes()


@pytest.mark.promise("B12")
def test_home_settings_locale_time_zone_and_hash_seed_change_no_byte(tmp_path):
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "matplotlibrc").write_text(
        "font.size: 20\nfont.family: serif\nsavefig.dpi: 50\nsavefig.bbox: tight\n"
        "axes.formatter.use_locale: True\npath.simplify: False\ntext.hinting: none\n"
    )
    plain = draw(tmp_path / "a.png", tmp_path / "plain", PYTHONHASHSEED="1")
    other = draw(tmp_path / "b.png", hostile, PYTHONHASHSEED="2", LC_ALL="C", TZ="Asia/Tokyo")
    assert plain == other


def test_a_file_names_no_software_and_no_time(tmp_path):
    write_png(tmp_path / "a.png", new_figure(1))
    with Image.open(tmp_path / "a.png") as picture:
        assert set(picture.info) == {"dpi"}
        assert picture.width == 9 * DPI
    assert not re.search(rb"tEXt|iTXt|zTXt|tIME", (tmp_path / "a.png").read_bytes())


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_the_font_is_the_one_that_matplotlib_brings(weight):
    with rc_context(HOUSE):
        font = findfont(FontProperties(family=HOUSE["font.family"], weight=weight))
    assert "mpl-data" in Path(font).parts


def test_drawing_leaves_the_settings_of_matplotlib_as_they_were(tmp_path):
    # Looking at the backend is what would import pyplot.
    keys = [key for key in rcParams if key != "backend"]
    before = {key: rcParams[key] for key in keys}
    write_png(tmp_path / "a.png", new_figure(1))
    assert {key: rcParams[key] for key in keys} == before


def test_every_colour_means_one_thing():
    colours = [*NETWORK_COLOURS.values(), *LABEL_COLOURS, PUBLISHED]
    assert len(set(colours)) == len(colours)
