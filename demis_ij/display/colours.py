"""The colours of residuals, the same in reports, notebooks, ImageJ and Fiji.

Five classes that differ in lightness as well as in hue (blue, green, yellow, orange, purple), so that they can be told
apart without seeing red and green as two colours.
"""

from __future__ import annotations

GRADES_PX = (0.25, 0.5, 1.0, 2.0)
"""Upper bounds of the colour classes; what is above the last has a class of its own."""
GRADE_LABELS = ("up to 0.25 px", "0.25 to 0.5 px", "0.5 to 1 px", "1 to 2 px", "above 2 px")
GRADE_COLOURS = ("#4c9be8", "#38c9a7", "#f2e14c", "#ff9124", "#e0368c")
NOT_MATCHED = "#9aa0a6"
"""Of a pair that was not matched: it has no residual."""


def grade(residual_px: float) -> int:
    """Return the colour class of a residual, 0 best to 4 worst; what is not finite is worst.

    Examples
    --------
    >>> [grade(v) for v in (0.1, 0.25, 0.9, 7.0, float("nan"))]
    [0, 0, 2, 4, 4]
    """
    return next((i for i, bound in enumerate(GRADES_PX) if residual_px <= bound), len(GRADES_PX))


def residual_colour(residual_px: float) -> str:
    """Return the colour of a residual in full-resolution px as ``#rrggbb``.

    Examples
    --------
    >>> residual_colour(0.0), residual_colour(5.0)
    ('#4c9be8', '#e0368c')
    """
    return GRADE_COLOURS[grade(residual_px)]
