"""What sinks of volumes share: a scratch folder that outlives an interruption, and what they promise.

A volume is written section by section, and a section in blocks. Until it is whole it lies in a hidden folder beside its
name; ``sections.json`` there says which sections are finished. A volume that is started again with the same key goes
on from there; with another key it begins anew.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.sinks.calibration import to_metres
from demis_ij.sinks.pyramid import discard
from demis_ij.sinks.syncing import name_whole


@dataclass(frozen=True)
class VolumeKind:
    """What a volume is.

    Attributes
    ----------
    shape : tuple of int
        (sections, rows, cols).
    dtype : numpy.dtype
        Of its values.
    pixel_size, thickness : tuple of (float, str) or None
        Side of a pixel and distance of sections, each with its unit.
    labels : bool
        Whether values are names of things: then smaller copies pick one, and never mix two.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pixel_size: tuple[float, str] | None = None
    thickness: tuple[float, str] | None = None
    labels: bool = False

    def check(self, path: Path) -> None:
        """Raise `InputError` where a size is in no unit of length that is known, or nothing is to be written."""
        for what, size in (("pixel size", self.pixel_size), ("thickness", self.thickness)):
            if size is not None and to_metres(size[1]) is None:
                msg = f"{path}: a {what} in {size[1]!r} cannot be written, needed a length such as nm or µm"
                raise InputError(msg)
        if min(self.shape) < 1:
            msg = f"{path}: a volume has at least one voxel, found {self.shape}"
            raise InputError(msg)


class VolumeSink(Protocol):
    """Receives a volume block by block. A partial file never looks whole.

    A section that is not written, and a block that never comes, hold no data.
    """

    def open(self, path: Path, kind: VolumeKind, *, block: int, key: str = "") -> frozenset[int]:
        """Start a volume, or go on with one of the same key, and return the sections that are finished already."""
        ...

    def write(self, section: int, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of a box of a section, and where they are data; boxes of a section do not overlap."""
        ...

    def finish(self, section: int) -> None:
        """Remember that a section is complete."""
        ...

    def close(self) -> None:
        """Give the volume its real name."""
        ...

    def abort(self, *, keep: bool = False) -> None:
        """Leave nothing that looks whole; ``keep`` what is finished, to go on with later."""
        ...


class Scratch:
    """The hidden folder of an unfinished volume.

    Parameters
    ----------
    path : Path
        The volume's real name.
    key : str
        What it depends on; nothing is gone on with when empty.

    Raises
    ------
    OSError
        When the folder cannot be written.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.folder = path.with_name(f".{path.name}.partial")
        self.key = key
        self.finished: set[int] = set()
        held = self._held()
        if key and held.get("key") == key:
            self.finished = {int(n) for n in held["finished"]}
        else:
            self.begin_anew()

    @property
    def is_new(self) -> bool:
        """Whether nothing was there to go on with."""
        return not self.finished

    def begin_anew(self) -> None:
        """Empty the folder: nothing is finished. Raises `OSError`."""
        self.finished = set()
        discard(self.folder)
        self.folder.mkdir(parents=True)
        self._remember()

    def finish(self, section: int) -> None:
        """Remember that a section is complete; its files are on the disk (`demis_ij.sinks.syncing`)."""
        self.finished.add(section)
        self._remember()

    def _held(self) -> dict[str, Any]:
        try:
            held = json.loads((self.folder / "sections.json").read_text(encoding="utf-8"))
            return held if isinstance(held, dict) and isinstance(held.get("finished"), list) else {}
        except (OSError, ValueError):
            return {}

    def _remember(self) -> None:
        part = self.folder / "sections.json.part"
        part.write_text(json.dumps({"key": self.key, "finished": sorted(self.finished)}), encoding="utf-8")
        name_whole(part, self.folder / "sections.json")


class Unfinished:
    """A volume that is open: its name, what it is, and where it lies until it is whole.

    Parameters
    ----------
    path : Path
        The volume's real name.
    kind : VolumeKind
        What it is.
    key : str
        As in `Scratch`.

    Raises
    ------
    InputError
        When a unit is unknown.
    OSError
        When the disk cannot be written.
    """

    def __init__(self, path: Path, kind: VolumeKind, key: str) -> None:
        kind.check(path)
        self.path, self.kind, self.scratch = path, kind, Scratch(path, key)
        self.folder = self.scratch.folder

    def goes_on_with(self, part: Path) -> bool:
        """Return whether an earlier run left finished sections, and the part of the volume that they are in.

        Without that part (it has got its real name, and a kill came before the rest was removed) nothing is finished.
        """
        if not part.exists() and not self.scratch.is_new:
            self.scratch.begin_anew()
        return not self.scratch.is_new

    def remove(self) -> None:
        """Remove all that is unfinished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def still_open(volume: Unfinished | None) -> Unfinished:
    """Return a volume that is open. Raises `InputError` when none is."""
    if volume is None:
        msg = "the sink is not open: call open() first"
        raise InputError(msg)
    return volume


def check_block(kind: VolumeKind, section: int, pixels: NDArray[Any], mask: NDArray[np.bool_], box: Box) -> None:
    """Raise `InputError` when a block does not fit a volume."""
    count, rows, cols = kind.shape
    fits = pixels.shape == mask.shape == box.shape and (box & Box.of_shape((rows, cols))) == box
    if not fits or not 0 <= section < count:
        found = f"a block of {pixels.shape} with a mask of {mask.shape}"
        msg = f"{found} does not fit {box} of section {section} of a volume of {kind.shape}"
        raise InputError(msg)
