"""Small pictures and tables as HTML and SVG text, from plain numbers.

What a notebook shows of a record is made of these. Everything is text with escaped words: no script, no style sheet and
nothing from the network, because notebooks that were opened and not yet run, and pages that host them, take all of that
away. Pictures are SVG inside an ``img`` on a ground of their own, so that light and dark pages show them alike.
"""

from demis_ij.display.colours import residual_colour
from demis_ij.display.drawing import Link, Outline, drawing, legend
from demis_ij.display.markup import Html, count, join, px
from demis_ij.display.progress import Progress
from demis_ij.display.tables import card, facts, listed, swatch, table

__all__ = [
    "Html", "Link", "Outline", "Progress", "card", "count", "drawing", "facts", "join", "legend", "listed", "px",
    "residual_colour", "swatch", "table",
]  # fmt: skip
