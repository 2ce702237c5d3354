"""The seams: what each interchangeable part promises, and the tables that find it by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.records import Correspondences, Field, Layout, PairMatch, Solution

Image = NDArray[Any]


@dataclass(frozen=True, eq=False)
class View:
    """What a matcher sees of a tile: a normalised crop and its mask.

    Attributes
    ----------
    image : ndarray of shape (H, W), uint8
        Normalised grey values, at full resolution of the crop.
    mask : ndarray of shape (H, W), bool
        True where there is data.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]


@runtime_checkable
class Matcher(Protocol):
    """Finds corresponding points.

    Contract: recovers a shift and a turn; swapping the images swaps the columns (to sub-pixel); blank images give no
    points. Points are px of the views given, pixel centres at integers.
    """

    name: str

    def __call__(self, fixed: View, moving: View) -> Correspondences:
        """Return the points seen in both views."""
        ...

    def batch(self, pairs: Sequence[tuple[View, View]]) -> list[Correspondences]:
        """Return `__call__` of each pair, computed together where that is faster."""
        ...


@runtime_checkable
class Solver(Protocol):
    """Places every tile from pair measurements.

    Contract: recovers a jittered grid; the order of matches does not matter; islands stay where the stage put them
    and are reported; locked tiles do not move.
    """

    def __call__(self, layout: Layout, matches: Sequence[PairMatch]) -> Solution:
        """Return the solved layout."""
        ...


@runtime_checkable
class Aligner(Protocol):
    """Brings one section onto another, of the same size and roughly in place.

    Contract: equal sections stay where they are; a known smooth warp (of an affine aligner: an affine map) is
    recovered; nothing under a mask decides; a section with nothing to see gives a field of NaN and no exception; the
    field folds nothing. `demis_ij.testing.aligner_contract` tests this.
    """

    name: str

    def __call__(
        self,
        fixed: NDArray[np.float32],
        moving: NDArray[np.float32],
        fixed_mask: NDArray[np.bool_],
        moving_mask: NDArray[np.bool_],
    ) -> Field:
        """Return the field from pixels of ``fixed`` to points of ``moving``; grey values are 0 to 255.

        Raises
        ------
        InputError
            When the four arrays are not of one shape.
        """
        ...


@runtime_checkable
class LayoutFormat(Protocol):
    """Reads and writes one kind of layout file. ``read(write(x)) == x`` as far as the format can hold it."""

    name: str

    def recognises(self, path: Path) -> bool:
        """Return whether the file looks like this format (by name and first bytes)."""
        ...

    def read(self, path: Path) -> list[Layout]:
        """Return one layout a section. Raises `FormatError`."""
        ...

    def write(self, path: Path, layouts: Sequence[Layout]) -> None:
        """Write a new file, all or nothing."""
        ...


class Sink(Protocol):
    """Receives a mosaic block by block, in any order. A partial file never looks whole.

    Blocks are (rows, cols) arrays of the dtype given at `open`; masks are bool, True where there is data. A block that
    never comes holds no data. A sink that cannot be written (a full disk) raises `OSError`; whoever drives it then
    calls `abort`, which may be called at any time and more than once. `demis_ij.testing.sink_contract` tests this.
    """

    def open(
        self,
        path: Path,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        pixel_size: tuple[float, str] | None,
        block: int,
    ) -> None:
        """Start a mosaic of ``shape`` (rows, cols), written in square blocks of side ``block`` or parts of them."""
        ...

    def write(self, pixels: Image, mask: NDArray[np.bool_], box: Box) -> None:
        """Take the pixels of ``box`` and where they are data; boxes do not overlap."""
        ...

    def close(self) -> None:
        """Finish pyramids and rename the file to its real name."""
        ...

    def abort(self) -> None:
        """Leave nothing that looks whole."""
        ...


class NameTable:
    """Maps a name to ``module:attribute``, imported on first use; takes entry points of the group ``demis_ij.<kind>``.

    Parameters
    ----------
    kind : str
        What the names name ("matcher").
    targets : mapping of str to str
        Name to ``module:attribute``.
    """

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self._targets = dict(targets)

    def _all(self) -> dict[str, str]:
        found = {e.name: e.value for e in entry_points(group=f"demis_ij.{self.kind}s")}
        return {**found, **self._targets}

    @property
    def names(self) -> list[str]:
        """The names that can be asked for."""
        return list(self._all())

    def __getitem__(self, name: str) -> Callable[..., Any]:
        targets = self._all()
        if name not in targets:
            near = difflib.get_close_matches(name, targets, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            msg = f"no {self.kind} {name!r}{hint} Known: {', '.join(targets)}"
            raise InputError(msg)
        module, _, attribute = targets[name].partition(":")
        return getattr(import_module(module), attribute)  # type: ignore[no-any-return]


MATCHERS = NameTable(
    "matcher",
    {
        "loftr": "demis_ij.matchers.loftr:LoftrMatcher",
        "sift": "demis_ij.matchers.sift:SiftMatcher",
        "correlation": "demis_ij.matchers.correlation:CorrelationMatcher",
    },
)
SOLVERS = NameTable(
    "solver",
    {
        "sparse": "demis_ij.solvers.sparse:SparseSolver",
        "slam": "demis_ij.solvers.slam:SlamSolver",
        "factor_graph": "demis_ij.solvers.factor_graph:FactorGraphSolver",
    },
)
ALIGNERS = NameTable(
    "aligner",
    {
        "flow": "demis_ij.aligners.flow:FlowAligner",
        "affine": "demis_ij.aligners.affine:AffineAligner",
        "bspline": "demis_ij.aligners.bspline:BsplineAligner",
        "ssemnet": "demis_ij.aligners.ssemnet:SsemnetAligner",
        "bunwarpj": "demis_ij.aligners.bunwarpj:BunwarpjAligner",
        "elastic": "demis_ij.aligners.elastic_alignment:ElasticAligner",
        "spline": "demis_ij.aligners.elastic:ElasticAligner",
    },
)
FIJI_ALIGNERS = ("bunwarpj", "elastic")
"""Aligners that run a plugin of a Fiji, whose folder they take as ``fiji``."""
FORMATS = NameTable(
    "format",
    {
        "trakem2": "demis_ij.formats.trakem2:TrakEM2Format",
        "tileconfig": "demis_ij.formats.tileconfig:TileConfigFormat",
        "render": "demis_ij.formats.render_json:RenderJsonFormat",
        "text": "demis_ij.formats.text_list:TextListFormat",
    },
)
SINKS = NameTable(
    "sink",
    {
        "ome-tiff": "demis_ij.sinks.ome_tiff:OmeTiffSink",
        "ome-zarr": "demis_ij.sinks.ome_zarr:OmeZarrSink",
        "png": "demis_ij.sinks.png:PngSink",
        "imagej": "demis_ij.sinks.imagej_tiff:ImageJTiffSink",
    },
)
