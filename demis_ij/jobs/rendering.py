"""What there is to draw: a solved run or any layout as it stands, all of it or a part, with these images or others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demis_ij.errors import InputError
from demis_ij.jobs.reading import read_layout
from demis_ij.records import Layout
from demis_ij.runs import read_solution


@dataclass(frozen=True, eq=False)
class Drawable:
    """What is to be drawn.

    Attributes
    ----------
    layouts : sequence of Layout
        One a section.
    is_solution : bool
        They are in px of a solution's mosaic already.
    warnings : tuple of str
        What was to be said when they were read.
    """

    layouts: Sequence[Layout]
    is_solution: bool
    warnings: tuple[str, ...] = ()


def drawable(
    source: Path,
    *,
    sections: Sequence[str] = (),
    replaced: str | None = None,
    relink: Path | None = None,
    **read: Any,
) -> Drawable:
    """Return what a run folder, a ``solution.json`` or a layout shows.

    Parameters
    ----------
    source : Path
        One of these.
    sections : sequence of str
        Only these; all when empty.
    replaced : str, optional
        ``OLD=NEW`` in the tiles' paths: the same places for another channel.
    relink : Path, optional
        Where moved images of a layout are.
    **read
        How a layout is read, as for `read_layout`.

    Raises
    ------
    InputError
        When it cannot be read, there is no such section, or an option does not go with it.
    """
    told = any(read.values())  # a folder without a word of how its tiles lie is that of a run
    is_solution = source.name == "solution.json" or (source.is_dir() and not told)
    given = next((name for name, value in (("--relink", relink), ("--read", told)) if value), None)
    if is_solution and given is not None:
        msg = f"{given} belongs to a layout; the paths of a run are changed by --replace OLD=NEW"
        raise InputError(msg)
    warnings: tuple[str, ...] = ()
    if is_solution:
        found: Sequence[Layout] = read_solution(source)[0]
    else:
        document = read_layout(source, relink=relink, **read)
        found, warnings = list(document.layouts), tuple(document.warnings)
    names = [layout.section for layout in found]
    unknown = next((name for name in sections if name not in names), None)
    if unknown is not None:
        msg = f"{source}: no section {unknown!r}; its sections: {', '.join(names)}"
        raise InputError(msg)
    chosen = [layout for layout in found if not sections or layout.section in sections]
    return Drawable([_replaced(c, replaced) for c in chosen] if replaced else chosen, is_solution, warnings)


def _replaced(layout: Layout, text: str) -> Layout:
    old, equals, new = text.partition("=")
    if not equals or not old:
        msg = f"--replace {text}: needed OLD=NEW"
        raise InputError(msg)
    if not any(old in str(t.path) for t in layout):
        msg = f"--replace {text}: no tile's path holds {old!r}; for instance {layout.tiles[0].path}"
        raise InputError(msg)
    return replace(layout, tiles=tuple(replace(t, path=Path(str(t.path).replace(old, new))) for t in layout))


__all__ = ["Drawable", "drawable"]
