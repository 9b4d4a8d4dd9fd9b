"""Read a figure back: what is written in it, and whether it can be read."""

from itertools import combinations
from unittest import mock

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ulna.figures.style import RC_PARAMS


def texts(figure):
    return " | ".join(text.get_text() for text in figure.findobj(Text))


def assert_legible(figure):
    """The figure can be drawn; no text is cut off by its edge or lies on another."""
    drawn = []
    draw = Text.draw

    def note(text, renderer):
        drawn.append(text)
        draw(text, renderer)

    with rc_context(RC_PARAMS), mock.patch.object(Text, "draw", note):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        written = [text for text in drawn if text.get_visible() and text.get_text().strip()]
        boxes = [(text, text.get_window_extent(canvas.get_renderer())) for text in written]
    assert boxes
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    for (text, box), (other, other_box) in combinations(boxes, 2):
        assert not box.padded(-1).overlaps(other_box.padded(-1)), (text, other)
