"""Why a tile matches with nobody: its image is blank, another tile's once more, or belongs to another place.

Only tiles that no pair holds are looked at, so a section in which every tile has a neighbour costs nothing here. What
is found is said, never acted upon: such a tile stays where the stage put it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.images import TileStore
from demis_ij.pairs.matching import match_pairs
from demis_ij.pairs.overlap import neighbours
from demis_ij.protocols import Matcher
from demis_ij.records import Layout, PairMatch, Points, Tile
from demis_ij.records.suspects import Suspect

Float = NDArray[np.float32]

SAMPLE_BYTES = 1 << 14
"""What is read of a file, from its middle, to see whether it may be another one's copy."""
REDUCED_PX = 96
"""Images are compared as wholes at this size of their longer side: sensor noise is averaged away."""
NEAREST = 8
"""Tiles around a lonely one, and lonely ones elsewhere, with which it is compared."""
SAME = 0.8
"""Correlation at zero shift from which two tiles show the same field; neighbours that overlap by a tenth stay below."""
FAINT = 0.1
"""Contrast, as a share of the other tiles', below which nothing is to be seen."""
MOST_TRIED = 48
"""Lonely tiles whose image is tried in other places; a section with more of them has another trouble."""
WITNESSES = 3
"""Neighbours of a place that an image is held against."""


@dataclass(frozen=True, eq=False)
class _Small:
    """A tile reduced: its grey values about their mean, and how strong they are."""

    grey: Float
    contrast: float


def find_suspects(
    layout: Layout,
    lonely: Sequence[str],
    store: TileStore,
    matcher: Matcher,
    config: StitchConfig,
) -> list[Suspect]:
    """Return what is wrong with the tiles of a section that matched with nobody, where that can be told.

    Parameters
    ----------
    layout : Layout
        Tiles with shapes, at their expected positions.
    lonely : sequence of str
        Tiles that no pair holds and whose image can be read.
    store : TileStore
        Where images come from.
    matcher : Matcher
        Who is asked whether an image fits another place.
    config : StitchConfig
        The gate of those pairs.

    Returns
    -------
    list of Suspect
        At most one a tile, in the order of ``lonely``; a tile of which nothing can be told is not among them.
    """
    if not lonely or len(layout) < 3:
        return []
    middle = np.array([t.to_world(((t.shape[1] - 1) / 2, (t.shape[0] - 1) / 2)) for t in layout])
    alone = set(lonely)
    near = _nearest(middle, layout, lonely)
    small = _Reduced(layout, store)
    found: dict[str, Suspect] = {}
    usual = small.usual_contrast([name for group in near.values() for name in group if name not in alone])
    for name in lonely:
        if suspect := _blank(name, small, usual):
            found[name] = suspect
    rest = [name for name in lonely if name not in found]
    copies = _copies(layout, rest, store)
    for name in rest:
        if other := copies.get(name) or _same_field(name, near[name], small, found):
            held = "" if other in alone else ", which its neighbours hold"
            said = f"is the image of tile {other}{held} once more; the image that belongs here is missing"
            found[name] = Suspect(name, "duplicate", said, other)
    rest = [name for name in rest if name not in found]
    found |= _out_of_place(layout, rest, alone, middle, store, matcher, config)
    return [found[name] for name in lonely if name in found]


def _nearest(middle: Points, layout: Layout, lonely: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each lonely tile, the tiles nearest to it, and the nearest of the lonely ones."""
    rows = np.array([layout.index(name) for name in lonely])
    around, others = _closest(middle, middle[rows]), rows[_closest(middle[rows], middle[rows])]
    out = {}
    for row, name, *found in zip(rows, lonely, around, others, strict=True):
        groups = ([k for k in group if k != row][:NEAREST] for group in found)
        out[name] = list(dict.fromkeys(layout.tiles[k].id for group in groups for k in group))
    return out


def _closest(places: Points, middle: Points) -> NDArray[np.intp]:
    """Return (len(middle), k) rows of the places nearest to each, nearest first, and of equally near ones the first."""
    away, found = cKDTree(places).query(middle, k=min(len(places), 4 * NEAREST))
    away, found = away.reshape(len(middle), -1).round(6), found.reshape(len(middle), -1)
    return np.asarray(np.take_along_axis(found, np.lexsort((found, away)), axis=1), np.intp)


class _Reduced:
    """Tiles as wholes, small; each is read once."""

    def __init__(self, layout: Layout, store: TileStore) -> None:
        self._layout, self._store = layout, store
        self._kept: dict[str, _Small | None] = {}

    def __getitem__(self, name: str) -> _Small | None:
        """Return a tile reduced, None when it cannot be read or has no data."""
        if name not in self._kept:
            self._kept[name] = self._make(self._layout[name])
        return self._kept[name]

    def usual_contrast(self, names: Iterable[str]) -> float:
        """Return the median contrast of some tiles, 0 where none can be read."""
        known = [s.contrast for name in dict.fromkeys(names) if (s := self[name]) is not None]
        return float(np.median(known)) if known else 0.0

    def _make(self, tile: Tile) -> _Small | None:
        try:
            image, mask = self._store.image(tile), self._store.mask(tile)
        except InputError:
            return None
        if mask.mean() < 0.01:
            return _Small(np.zeros((1, 1), np.float32), 0.0)
        values = np.where(mask, image, image[mask].mean()).astype(np.float32)
        scale = REDUCED_PX / max(values.shape)
        size = max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale))
        reduced = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
        # brighter middles are common to all tiles of a camera and say nothing of what is seen
        detail = reduced - cv2.GaussianBlur(reduced, (0, 0), REDUCED_PX / 12)
        return _Small(np.asarray(detail - detail.mean(), np.float32), float(detail.std()))


def _blank(name: str, small: _Reduced, usual: float) -> Suspect | None:
    seen = small[name]
    if seen is None:
        return None
    if seen.contrast == 0:
        return Suspect(name, "blank", "is blank: every pixel has the same grey, or none has data")
    if seen.contrast < FAINT * usual:
        share = f"{100 * seen.contrast / usual:.0f} %"
        return Suspect(name, "blank", f"shows almost nothing: its contrast is {share} of that of the tiles around it")
    return None


def _same_field(name: str, others: Sequence[str], small: _Reduced, found: Mapping[str, Suspect]) -> str | None:
    """Return the tile that shows the same field at zero shift, None when there is none."""
    mine = small[name]
    if mine is None:
        return None
    best, best_likeness = None, SAME
    for other in others:
        seen = small[other]
        if other in found or seen is None or seen.grey.shape != mine.grey.shape or not seen.contrast:
            continue
        likeness = float((mine.grey * seen.grey).mean()) / (mine.contrast * seen.contrast)
        if likeness > best_likeness:
            best, best_likeness = other, likeness
    return best


def _copies(layout: Layout, lonely: Sequence[str], store: TileStore) -> dict[str, str]:
    """Return for lonely tiles the tile of the section whose file holds the very same image.

    Files are compared by size and by a few bytes of their middle, and those that agree in both by their pixels.
    """
    if not lonely:
        return {}
    alike: dict[tuple[int, bytes, int | None], list[str]] = defaultdict(list)
    mine: dict[str, tuple[int, bytes, int | None]] = {}
    for tile in layout:
        key = _sample(tile)
        if key is not None:
            alike[key].append(tile.id)
            mine[tile.id] = key
    out = {}
    for name in lonely:
        twins = [other for other in alike.get(mine[name], ()) if other != name] if name in mine else []
        same = [other for other in twins if _equal(layout[name], layout[other], store)]
        if same:
            out[name] = next((other for other in same if other not in lonely), same[0])
    return out


def _sample(tile: Tile) -> tuple[int, bytes, int | None] | None:
    """Return what says which file it may be a copy of, None for folders and what cannot be read."""
    try:
        if not tile.path.is_file():
            return None
        size = tile.path.stat().st_size
        with tile.path.open("rb") as file:
            file.seek(max(0, (size - SAMPLE_BYTES) // 2))
            return size, blake2b(file.read(SAMPLE_BYTES), digest_size=16).digest(), tile.page
    except OSError:
        return None


def _equal(one: Tile, other: Tile, store: TileStore) -> bool:
    try:
        return bool(np.array_equal(store.image(one), store.image(other)))
    except InputError:
        return False


def _out_of_place(
    layout: Layout,
    lonely: Sequence[str],
    without_hold: set[str],
    middle: Points,
    store: TileStore,
    matcher: Matcher,
    config: StitchConfig,
) -> dict[str, Suspect]:
    """Return the tiles whose image fits the place of another lonely tile."""
    around: dict[str, list[str]] = defaultdict(list)
    for one, two in neighbours(layout):
        around[one].append(two)
        around[two].append(one)
    witnesses = {name: [n for n in around[name] if n not in without_hold][:WITNESSES] for name in without_hold}
    tried = sorted((n for n in lonely if witnesses[n]), key=lambda n: -len(witnesses[n]))[:MOST_TRIED]
    fits: dict[str, str] = {}
    for name in tried:
        away = {
            other: float(np.linalg.norm(middle[layout.index(other)] - middle[layout.index(name)]))
            for other in without_hold
            if other != name and witnesses[other]
        }
        for place in sorted(away, key=lambda other: (away[other], other))[:NEAREST]:
            if _fits(layout, name, place, witnesses[place], store, matcher, config):
                fits[name] = place
                break
    out = {}
    for name, place in fits.items():
        if fits.get(place) == name:
            said = f"looks exchanged with tile {place}: the image of each fits the place of the other"
            out[name] = Suspect(name, "exchanged", said, place)
        else:
            said = f"is in the wrong place: its image fits the place of tile {place}"
            out[name] = Suspect(name, "elsewhere", said, place)
    return out


def _fits(
    layout: Layout,
    name: str,
    place: str,
    witnesses: Sequence[str],
    store: TileStore,
    matcher: Matcher,
    config: StitchConfig,
) -> bool:
    """Return whether a tile's image matches the neighbours of another tile's place."""
    guest = replace(layout[name], to_world=layout[place].to_world)
    there = Layout((guest, *(layout[w] for w in witnesses)), layout.section)
    pairs = [(w, name) for w in witnesses]
    found = match_pairs(store, there, pairs, matcher, config, stage_error_frac=config.stage_error_frac)
    return any(isinstance(o, PairMatch) for o in found)
