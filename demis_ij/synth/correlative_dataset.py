"""Correlative pairs on disk: light and electrons, in register or deformed by a known warp.

::

    sem/steel_1000000000.png     by electrons, 8 bits: fixed
    lom/steel_1000000000.png     by light, 8 bits, colour: moving
    warps/steel_1000000000.npz   truth: ``registered(x, y) = moving(x + dx, y + dy)``
    pairs.csv                    a line a pair: kind, seed, files, how far things moved
    examples.png                 a few of them: fixed, moving, moving registered by the truth, both as a checkerboard
    dataset.json                 settings; written last: without it a folder is not whole

A warp holds ``offsets`` (2, h, w), ``stride``, ``origin_xy``, ``shape`` and ``format_version``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from demis_ij.config.correlative import CorrelativeConfig
from demis_ij.errors import InputError
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.records import Field
from demis_ij.synth.correlative_instruments import Bytes
from demis_ij.synth.correlative_views import EVALUATION, CorrelativeViews, views
from demis_ij.synth.dataset.files import get_json, put_bytes, put_json, put_png, put_text

FORMAT_VERSION = 1
DATASET = "dataset.json"
PARTS = ("sem", "lom", "warps")
SEEDS_A_SET = 100_000
"""Seeds set aside for the training pairs of one ``seed`` of a config."""
_EXAMPLES = 4
_CHECKER_PX = 64
_COLUMNS = ("name", "kind", "split", "seed", "fixed", "moving", "warp", "mean_px", "max_px")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class WrittenPairs:
    """What was written.

    Attributes
    ----------
    names : tuple of str
        Of the pairs, as their files are called.
    kept : int
        Pairs that were there already.
    mean_px : float
        Mean displacement over all pairs.
    """

    names: tuple[str, ...]
    kept: int
    mean_px: float


def pairs_of(config: CorrelativeConfig) -> list[tuple[str, int]]:
    """Return (kind, seed) of every pair; kinds take turns.

    Examples
    --------
    >>> pairs_of(CorrelativeConfig(pairs=3))
    [('steel', 1000000000), ('tissue', 1000000000), ('steel', 1000000001)]
    """
    first = EVALUATION if config.split == "test" else config.seed * SEEDS_A_SET
    many = len(config.kinds)
    return [(config.kinds[k % many], first + k // many) for k in range(config.pairs)]


def write_pairs(
    out: Path, config: CorrelativeConfig, *, progress: Progress = lambda _what, _done, _all: None
) -> WrittenPairs:
    """Write correlative pairs; those that are there already are kept.

    Parameters
    ----------
    out : Path
        New, empty, or begun with the same settings.
    config : CorrelativeConfig
    progress : callable
        Called with (what, done, all).

    Raises
    ------
    InputError
        When ``out`` holds something else, or cannot be made.
    """
    settings = {"correlative": FORMAT_VERSION, **asdict(config), "kinds": list(config.kinds)}
    _prepare(out, settings)
    chosen, kept = pairs_of(config), 0
    lines: list[list[str]] = []
    shown: list[CorrelativeViews] = []
    moved = []
    for n, (kind, seed) in enumerate(chosen):
        progress("pairs", n, len(chosen))
        files = {part: _file(part, kind, seed) for part in PARTS}
        whole = all((out / f).is_file() for f in files.values())
        needs_picture = n < _EXAMPLES
        if whole and not needs_picture:
            offsets = read_warp(out / files["warps"]).offsets
            kept += 1
        else:
            made = views(kind, seed, config.size_px, deformed=config.deformed)
            offsets = made.truth.offsets
            shown += [made] if needs_picture else []
            kept += whole
            if not whole:
                _write(out, files, made, config.size_px)
        length = np.hypot(*offsets)
        moved.append(float(length.mean()))
        numbers = [f"{length.mean():.3f}", f"{length.max():.3f}"]
        lines.append(
            [f"{kind}_{seed:010d}", kind, config.split, str(seed), files["sem"], files["lom"], files["warps"], *numbers]
        )
    put_text(out / "pairs.csv", _csv(lines))
    put_png(out / "examples.png", examples_picture(shown))
    put_json(out / DATASET, settings)
    (out / "begun.json").unlink(missing_ok=True)
    progress("pairs", len(chosen), len(chosen))
    return WrittenPairs(tuple(line[0] for line in lines), kept, float(np.mean(moved)))


def _file(part: str, kind: str, seed: int) -> str:
    return f"{part}/{kind}_{seed:010d}.{'npz' if part == 'warps' else 'png'}"


def _write(out: Path, files: dict[str, str], made: CorrelativeViews, size: int) -> None:
    put_png(out / files["sem"], made.sem)
    put_png(out / files["lom"], np.ascontiguousarray(made.lom[..., ::-1]))
    put_bytes(out / files["warps"], warp_bytes(made.truth, (size, size)))


def warp_bytes(field: Field, shape: tuple[int, int]) -> bytes:
    """Return a warp between two images as the bytes of an ``.npz``."""
    held = io.BytesIO()
    np.savez_compressed(
        held,
        format_version=np.array(FORMAT_VERSION),
        offsets=field.offsets.astype(np.float32),
        stride=np.array(field.stride),
        origin_xy=np.zeros(2),
        shape=np.array(shape, np.int64),
    )
    return held.getvalue()


def read_warp(path: Path) -> Field:
    """Return the field of a warp between two images. Raises `InputError` when it is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            return Field(held["offsets"], float(held["stride"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        msg = f"{path} is no warp of two images (offsets (2, h, w) and stride in an .npz): {error}; delete it"
        raise InputError(msg) from error


def _csv(lines: Sequence[Sequence[str]]) -> str:
    held = io.StringIO()
    writer = csv.writer(held, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(lines)
    return held.getvalue()


def _prepare(out: Path, settings: dict[str, object]) -> None:
    """Make the folders, or see that they hold the same dataset. Raises `InputError`."""
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file, a folder was needed: choose another one"
        raise InputError(msg)
    marks = [out / DATASET, out / "begun.json"]
    held = next((get_json(m) for m in marks if m.is_file()), None)
    if held is not None:
        other = [k for k, v in settings.items() if not isinstance(held, dict) or held.get(k) != v]
        if other:
            msg = f"{out} holds other pairs ({', '.join(other)} differ): choose another folder"
            raise InputError(msg)
    elif out.is_dir() and any(out.iterdir()):
        msg = f"{out} is not empty and holds no {DATASET}: choose a new or an empty folder"
        raise InputError(msg)
    try:
        for part in PARTS:
            (out / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"output folder {out} cannot be made: {error.strerror}"
        raise InputError(msg) from error
    if held is None:
        put_json(out / "begun.json", settings)


def examples_picture(shown: Sequence[CorrelativeViews]) -> Bytes:
    """Return pairs, one a row: fixed, moving, moving registered by the truth, fixed and that as a checkerboard.

    Returns
    -------
    ndarray of shape (rows, cols, 3), uint8
        Blue first, as OpenCV writes pictures.
    """
    rows = []
    for pair in shown:
        size = pair.sem.shape[0]
        offsets = dense(pair.truth, Box.of_shape(pair.sem.shape))
        x, y = np.meshgrid(*(np.arange(size, dtype=np.float32),) * 2)
        registered = cv2.remap(pair.lom, x + offsets[0], y + offsets[1], cv2.INTER_LINEAR)
        fixed = np.repeat(pair.sem[..., None], 3, axis=2)
        odd = ((x // _CHECKER_PX + y // _CHECKER_PX) % 2 > 0)[..., None]
        tiles = [fixed, pair.lom, registered, np.where(odd, fixed, registered)]
        gap = np.full((size, 6, 3), 255, np.uint8)
        rows += [
            np.hstack([t for tile in tiles for t in (tile, gap)][:-1]),
            np.full((6, 4 * size + 18, 3), 255, np.uint8),
        ]
    return np.ascontiguousarray(np.vstack(rows[:-1])[..., ::-1])


__all__ = [
    "DATASET", "FORMAT_VERSION", "SEEDS_A_SET", "WrittenPairs", "examples_picture", "pairs_of", "read_warp",
    "warp_bytes", "write_pairs",
]  # fmt: skip
