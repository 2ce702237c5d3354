"""Tiles that are missing, cut short, black, there twice or exchanged: each is named, with what it looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.pairs.suspects import find_suspects
from demis_ij.records import Layout, Suspect
from demis_ij.stitch import StitchResult, make_matcher


def with_suspects(layout: Layout, result: StitchResult, store: TileStore) -> StitchResult:
    """Return a result with a reason for each tile that nobody agrees with, where one can be told.

    Parameters
    ----------
    layout : Layout
        The section as it was given, with the tiles that could not be read.
    result : StitchResult
        Of the tiles that could.
    store : TileStore
        Where images come from; only the tiles without a neighbour and a few around them are read.
    """
    absent = _absent(layout, result)
    broken = _broken(result, store)
    lonely = [name for name, how in result.placed_by.items() if how == "stage" and name not in broken]
    looked_at = result.config.matcher if result.config.matcher not in {"auto", "loftr"} else "sift"
    matcher = make_matcher(looked_at, result.config)
    strange = find_suspects(result.layout, lonely, store, matcher, result.config)
    return replace(result, suspects=(*absent, *(Suspect(n, "unreadable", why) for n, why in broken.items()), *strange))


def _absent(layout: Layout, result: StitchResult) -> list[Suspect]:
    """Return the tiles that were left out because their file is not there or its header cannot be read."""
    out = []
    for tile in layout:
        if tile.id in result.layout or not (tile.visible or result.config.include_hidden):
            continue
        if tile.path.exists():
            said = f"{tile.path.name} cannot be read; it is drawn nowhere"
            out.append(Suspect(tile.id, "unreadable", said))
        else:
            out.append(Suspect(tile.id, "missing", f"{tile.path.name} is not there"))
    return out


def _broken(result: StitchResult, store: TileStore) -> dict[str, str]:
    """Return the tiles whose header is right and whose pixels cannot be read, and why; they matched with nothing."""
    found = {}
    for tile_id, how in result.placed_by.items():
        if how == "stage":
            try:
                store.mask(result.layout[tile_id])
            except InputError as error:
                found[tile_id] = str(error)
    return found


def lines_of(result: StitchResult) -> list[str]:
    """Return the warnings of a section, with one line for a tile of which more is known than that nobody matched."""
    known = {s.tile: s for s in result.suspects if s.tile in result.layout}
    follows = tuple(f"tile {name}: matched with no neighbour" for name in known)
    kept = [line for line in result.warnings if not (follows and line.startswith(follows))]
    return [*_without_loftr(result), *(suspect.line for suspect in known.values()), *kept]


def _without_loftr(result: StitchResult) -> list[str]:
    """Return a line when ``auto`` had to do without LoFTR, which its pairs remember."""
    reasons = (reason for pair in result.pairs for _, reason in (*pair.tried, ("", getattr(pair, "reason", ""))))
    found = next((reason for reason in reasons if reason.startswith("loftr cannot be used")), None)
    return [found] if found else []


def broken_lines(suspects: Sequence[Suspect]) -> tuple[str, ...]:
    """Return how lines begin that a renderer writes of tiles already named."""
    return tuple(f"tile {s.tile} is left out" for s in suspects if s.kind == "unreadable")


def by_kind(suspects: Sequence[Suspect]) -> Mapping[str, int]:
    """Return how many tiles there are of each kind."""
    kinds = [s.kind for s in suspects]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
