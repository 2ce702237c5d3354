"""A misaligned stack on disk.

::

    images/section_0000.tif      what an aligner is given, 8 bits; numbers of lost sections are left out
    masks/section_0000.png       0 where there is no section, 128 on folds, tears and dirt, 255 on tissue
    labels/section_0000.tif      labels, deformed as the images were; 0 where nothing is known
    undeformed/section_0000.tif  labels before anything moved
    deformation.npz              deformed(x) = original(x + d): exact, from pixels of images/ to the undeformed volume
    warps_true.npz               its inverse, what `align` should find: original(x) = deformed(x + d)
    truth.json                   case, seed, source; what befell each section

Both ``.npz`` are as `demis_ij.formats.warps` says. ``truth.json`` is written last: without it a folder is not whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from demis_ij.errors import FormatError, InputError
from demis_ij.fields import at_nodes
from demis_ij.formats.warps import StackWarps, read_npz, write_npz
from demis_ij.synth.dataset.files import get_json, put_bytes, put_json, put_png, put_tiff
from demis_ij.synth.stack.cases import Case
from demis_ij.synth.stack.deforming import Mask
from demis_ij.synth.stack.making import MadeSection, make_sections
from demis_ij.synth.stack.volumes import LabelledVolume, read_label

FORMAT_VERSION = 1
TRUTH = "truth.json"
_TISSUE, _DAMAGED = 255, 128
_PARTS = ("images", "masks", "labels", "undeformed")


@dataclass(frozen=True, eq=False)
class TrueStack:
    """A misaligned stack whose truth is known. Attributes are sequences with one entry a section.

    Attributes
    ----------
    name : str
        As it is called in tables.
    images : sequence of ndarray of shape (H, W), uint8
    masks : sequence of ndarray of shape (H, W), bool
        Where there is a section.
    tissue : sequence of ndarray of shape (H, W), bool
        The same without folds, tears and dirt: what is judged.
    labels, original : sequence of ndarray of shape (H, W), int32
        Labels as they were deformed, and before.
    deformation, true : StackWarps
        See `MadeSection`.
    case : mapping
        Settings of the case.
    seed : int
    """

    name: str
    images: Sequence[NDArray[np.uint8]]
    masks: Sequence[Mask]
    tissue: Sequence[Mask]
    labels: Sequence[NDArray[np.int32]]
    original: Sequence[NDArray[np.int32]]
    deformation: StackWarps
    true: StackWarps
    case: Mapping[str, Any]
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the sections."""
        rows, cols = self.images[0].shape
        return int(rows), int(cols)

    def __len__(self) -> int:
        return len(self.images)


def in_memory(name: str, volume: LabelledVolume, case: Case, seed: int) -> TrueStack:
    """Return a misaligned stack without writing it. Raises `InputError` as `make_sections` does."""
    made = list(make_sections(volume, case, seed))
    ids = [file_name(s.number) for s in made]
    z = [float(s.number) for s in made]
    return TrueStack(
        name,
        [s.image for s in made],
        [s.mask for s in made],
        [s.mask & ~s.damaged for s in made],
        [s.label for s in made],
        [s.original for s in made],
        StackWarps(tuple(s.deformation for s in made), tuple(ids), tuple(z)),
        StackWarps(tuple(s.true for s in made), tuple(ids), tuple(z)),
        asdict(case),
        seed,
    )


def file_name(number: int) -> str:
    """Return what a section is called, without a suffix."""
    return f"section_{number:04d}"


def write_stack(
    out: Path,
    volume: LabelledVolume,
    name: str,
    case: Case,
    seed: int,
    *,
    source: Mapping[str, Any],
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> bool:
    """Write a misaligned stack; one that is there already is kept.

    Parameters
    ----------
    out : Path
        New, empty, or begun by the same call.
    volume : LabelledVolume
        What is deformed.
    name : str
        Of the case.
    case : Case
        What happens to it.
    seed : int
        Of everything random.
    source : mapping
        What the volume is, in JSON types: two stacks with the same source, case and seed are the same.
    progress : callable
        Called with (what, done, all).

    Returns
    -------
    bool
        Whether it was made; False when it was there.

    Raises
    ------
    InputError
        When ``out`` holds something else, or an argument cannot be used.
    """
    identity = {
        "format_version": FORMAT_VERSION, "name": name, "case": asdict(case), "seed": seed, "source": dict(source),
    }  # fmt: skip
    if _there(out, identity):
        return False
    _prepare(out)
    put_json(out / "begun.json", identity)
    told, warps = [], []
    for k, section in enumerate(make_sections(volume, case, seed)):
        progress(f"sections of {name}", k, len(volume))
        _write_section(out, section)
        told.append(_story(section))
        warps.append((section.deformation, section.true))
    ids, z = tuple(file_name(t["number"]) for t in told), tuple(float(t["number"]) for t in told)
    for file, chosen in (("deformation.npz", 0), ("warps_true.npz", 1)):
        write_npz(out / file, StackWarps(tuple(w[chosen] for w in warps), ids, z), overwrite=True)
    put_json(out / TRUTH, {**identity, "sections": told})
    (out / "begun.json").unlink(missing_ok=True)
    progress(f"sections of {name}", len(volume), len(volume))
    return True


def _there(out: Path, identity: Mapping[str, Any]) -> bool:
    """Return whether a folder holds this very stack, whole. Raises `InputError` when it holds something else."""
    if out.exists() and not out.is_dir():
        msg = f"{out} is a file, a folder was needed: choose another one"
        raise InputError(msg)
    for file in (out / TRUTH, out / "begun.json"):
        if file.is_file():
            held = get_json(file)
            other = [k for k, v in identity.items() if not isinstance(held, dict) or held.get(k) != v]
            if other:
                msg = f"{out} holds another stack ({', '.join(other)} differ): choose another folder"
                raise InputError(msg)
            return file.name == TRUTH
    if out.is_dir() and any(out.iterdir()):
        msg = f"{out} is not empty and holds no {TRUTH}: choose a new or an empty folder"
        raise InputError(msg)
    return False


def _prepare(out: Path) -> None:
    try:
        for part in _PARTS:
            (out / part).mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        msg = f"output folder {out} cannot be made: {error.strerror}"
        raise InputError(msg) from error


def _write_section(out: Path, section: MadeSection) -> None:
    name = file_name(section.number)
    put_tiff(out / "images" / f"{name}.tif", section.image)
    kinds = np.where(section.damaged, _DAMAGED, _TISSUE) * section.mask
    put_png(out / "masks" / f"{name}.png", kinds.astype(np.uint8))
    for part, label in (("labels", section.label), ("undeformed", section.original)):
        _put_label(out / part / f"{name}.tif", label)


def _put_label(path: Path, label: NDArray[np.int32]) -> None:
    held = BytesIO()
    kind = np.uint16 if label.max(initial=0) < 2**16 else np.uint32
    tifffile.imwrite(held, label.astype(kind), photometric="minisblack", compression="zlib")
    put_bytes(path, held.getvalue())


def _story(section: MadeSection) -> dict[str, Any]:
    stride = max(1.0, min(section.image.shape) / 64)
    lengths = np.hypot(*at_nodes(section.deformation, section.deformation.shape, stride).offsets)
    return {
        "number": section.number,
        "what": list(section.what),
        "displacement_rms_px": round(float(np.sqrt((lengths**2).mean())), 3),
        "displacement_max_px": round(float(lengths.max()), 3),
        "data_frac": round(float(section.mask.mean()), 4),
    }


# --- in ---------------------------------------------------------------------------------------------------------------


def is_true_stack(folder: Path) -> bool:
    """Return whether a folder holds a stack with truth."""
    return (folder / TRUTH).is_file()


def read_true_stack(folder: Path) -> TrueStack:
    """Return a stack with truth, all sections in memory.

    Raises
    ------
    FormatError
        When the folder is none, or not whole.
    """
    if not is_true_stack(folder):
        begun = " (its making was interrupted: run the same command again)" if (folder / "begun.json").is_file() else ""
        raise FormatError(folder, f"holds no {TRUTH}: a stack made by 'demis-ij synth stack' was needed{begun}")
    held = get_json(folder / TRUTH)
    try:
        version, numbers = held["format_version"], [int(s["number"]) for s in held["sections"]]
        name, case, seed = str(held["name"]), dict(held["case"]), int(held["seed"])
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError(folder / TRUTH, f"is not what 'synth stack' writes: {error!r}") from error
    if version != FORMAT_VERSION:
        raise FormatError(folder / TRUTH, f"is of version {version}, {FORMAT_VERSION} was needed")
    names = [file_name(n) for n in numbers]
    kinds = [_read_grey(folder / "masks" / f"{n}.png") for n in names]
    stack = TrueStack(
        name,
        [_read_grey(folder / "images" / f"{n}.tif") for n in names],
        [k > 0 for k in kinds],
        [k > _DAMAGED for k in kinds],
        [read_label(folder / "labels" / f"{n}.tif") for n in names],
        [read_label(folder / "undeformed" / f"{n}.tif") for n in names],
        read_npz(folder / "deformation.npz"),
        read_npz(folder / "warps_true.npz"),
        case,
        seed,
    )
    for what, count in _counts(stack):
        if count != len(names):
            raise FormatError(folder / what, f"holds {count} sections, {TRUTH} says {len(names)}")
    return stack


def _counts(stack: TrueStack) -> Iterator[tuple[str, int]]:
    yield "deformation.npz", len(stack.deformation)
    yield "warps_true.npz", len(stack.true)


def _read_grey(path: Path) -> NDArray[np.uint8]:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 2 or found.dtype != np.uint8:
        raise FormatError(path, "is missing, or is no 8-bit grey image: make the stack again")
    return np.asarray(found, np.uint8)
