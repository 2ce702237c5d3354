"""What every sink must do, as tests to inherit.

A plug-in's author writes::

    class TestMySink(SinkContract):
        suffix = ".mine"

        def sink(self):
            return MySink()

        def read(self, path):
            return my_reader(path)  # (rows, cols) of the largest image, by another reader than the sink
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demis_ij.geometry import Box
from demis_ij.protocols import Sink

BLOCK_PX = 64


class SinkContract:
    """Inherit, and say how the sink is made and how its file is read back.

    Attributes
    ----------
    suffix : str
        What its files' names end with.
    exact : bool
        Whether pixels come back as they were; False for previews, which are then held to the order of greys only.
    dtypes : tuple of str
        Grey values to try.
    """

    suffix = ""
    exact = True
    dtypes: tuple[str, ...] = ("uint8", "uint16", "float32")

    def sink(self) -> Sink:
        """Return a new sink."""
        raise NotImplementedError

    def read(self, path: Path) -> NDArray[Any]:
        """Return the (rows, cols) of the largest image in a finished file; any value where there is no data."""
        raise NotImplementedError

    # --- what it is given

    def mosaic(self, dtype: str, shape: tuple[int, int] = (200, 170)) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return an image with structure and a mask with a hole and a ragged border."""
        rng = np.random.default_rng(11)
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
        values = 100 + 60 * np.sin(x / 17) + 40 * np.cos(y / 23) + rng.normal(0, 3, shape)
        pixels = (values if dtype == "uint8" else values * 200).astype(dtype)
        mask = (x + y / 3 > 9) & ~((abs(y - shape[0] // 2) < 12) & (abs(x - shape[1] // 2) < 15))
        return np.where(mask, pixels, 0).astype(dtype), mask

    def boxes(self, shape: tuple[int, int]) -> list[Box]:
        """Return the blocks of a mosaic, row by row."""
        whole = Box.of_shape(shape)
        return [
            Box(x, y, x + BLOCK_PX, y + BLOCK_PX) & whole
            for y in range(0, shape[0], BLOCK_PX)
            for x in range(0, shape[1], BLOCK_PX)
        ]

    def make(self, path: Path, dtype: str, order: list[Box] | None = None, **options: Any) -> Path:
        """Write the mosaic and return its path."""
        pixels, mask = self.mosaic(dtype)
        sink = self.sink()
        sink.open(path, pixels.shape, np.dtype(dtype), options.get("pixel_size"), BLOCK_PX)
        for box in self.boxes(pixels.shape) if order is None else order:
            sink.write(pixels[box.slices], mask[box.slices], box)
        sink.close()
        return path

    # --- the contract

    def test_what_was_written_is_read_back(self, tmp_path: Path) -> None:
        for dtype in self.dtypes:
            pixels, mask = self.mosaic(dtype)

            found = self.read(self.make(tmp_path / f"{dtype}{self.suffix}", dtype))

            assert found.shape == pixels.shape, "the mosaic's shape must survive"
            if self.exact:
                assert found.dtype == pixels.dtype, "the depth must survive"
                np.testing.assert_array_equal(found[mask], pixels[mask])
            else:
                related = np.corrcoef(found[mask].astype(float), pixels[mask].astype(float))[0, 1]
                assert related > 0.98, "a preview shows the same greys, stretched"

    def test_blocks_may_come_in_any_order(self, tmp_path: Path) -> None:
        boxes = self.boxes(self.mosaic("uint8")[0].shape)
        shuffled = [boxes[i] for i in np.random.default_rng(2).permutation(len(boxes))]

        straight = self.read(self.make(tmp_path / f"a{self.suffix}", "uint8"))
        jumbled = self.read(self.make(tmp_path / f"b{self.suffix}", "uint8", shuffled))

        np.testing.assert_array_equal(jumbled, straight)

    def test_a_block_that_never_comes_holds_no_data(self, tmp_path: Path) -> None:
        pixels, mask = self.mosaic("uint8")
        boxes = self.boxes(pixels.shape)

        found = self.read(self.make(tmp_path / f"a{self.suffix}", "uint8", boxes[:4]))

        last = boxes[-1].slices
        assert mask[last].any()
        assert found.shape == pixels.shape
        assert len(np.unique(found[last])) == 1, "one value stands where there is no data"

    def test_a_mosaic_of_one_pixel_is_a_mosaic(self, tmp_path: Path) -> None:
        sink, path = self.sink(), tmp_path / f"a{self.suffix}"
        sink.open(path, (1, 1), np.dtype(np.uint8), None, BLOCK_PX)
        sink.write(np.full((1, 1), 7, np.uint8), np.ones((1, 1), bool), Box(0, 0, 1, 1))
        sink.close()

        assert self.read(path).shape == (1, 1)

    def test_nothing_has_the_real_name_before_it_is_whole(self, tmp_path: Path) -> None:
        pixels, mask = self.mosaic("uint8")
        sink, path = self.sink(), tmp_path / f"a{self.suffix}"
        sink.open(path, pixels.shape, pixels.dtype, None, BLOCK_PX)
        for box in self.boxes(pixels.shape):
            sink.write(pixels[box.slices], mask[box.slices], box)
            assert not path.exists()
        sink.close()

        assert path.exists()
        assert os.listdir(tmp_path) == [path.name], "a finished sink leaves nothing but its file"  # noqa: PTH208

    def test_an_aborted_mosaic_leaves_nothing(self, tmp_path: Path) -> None:
        pixels, mask = self.mosaic("uint8")
        sink = self.sink()
        sink.open(tmp_path / f"a{self.suffix}", pixels.shape, pixels.dtype, None, BLOCK_PX)
        box = self.boxes(pixels.shape)[0]
        sink.write(pixels[box.slices], mask[box.slices], box)

        sink.abort()
        sink.abort()  # twice does no harm

        assert not list(tmp_path.iterdir())

    def test_an_aborted_mosaic_leaves_the_earlier_one(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / f"a{self.suffix}", "uint8")
        before = self.read(path)
        sink = self.sink()
        sink.open(path, (300, 300), np.dtype(np.uint8), None, BLOCK_PX)
        sink.write(np.zeros((64, 64), np.uint8), np.ones((64, 64), bool), Box(0, 0, 64, 64))

        sink.abort()

        np.testing.assert_array_equal(self.read(path), before)

    def test_a_finished_mosaic_replaces_the_earlier_one(self, tmp_path: Path) -> None:
        path = self.make(tmp_path / f"a{self.suffix}", "uint8", [])

        self.make(path, "uint8")

        assert len(np.unique(self.read(path))) > 10

    def test_a_folder_that_is_not_there_is_an_os_error(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            self.sink().open(tmp_path / "absent" / f"a{self.suffix}", (9, 9), np.dtype(np.uint8), None, BLOCK_PX)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of files to fill up")
    def test_a_disk_that_is_full_is_an_os_error_and_leaves_nothing(self, tmp_path: Path) -> None:
        import resource

        shape = (1024, 1024)
        noise = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        sink, path = self.sink(), tmp_path / f"a{self.suffix}"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (20_000, before[1])
        )  # no file may pass 20 kB: EFBIG, ENOSPC's brother
        try:
            with pytest.raises(OSError) as caught:  # noqa: PT011
                self._write_all(sink, path, noise)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        sink.abort()

        assert caught.value.errno in {errno.EFBIG, errno.ENOSPC}
        assert not list(tmp_path.iterdir())

    def _write_all(self, sink: Sink, path: Path, pixels: NDArray[np.uint8]) -> None:
        rows, cols = pixels.shape
        sink.open(path, (rows, cols), pixels.dtype, None, 512)
        for y in range(0, rows, 512):
            for x in range(0, cols, 512):
                sink.write(pixels[y : y + 512, x : x + 512], np.ones((512, 512), bool), Box(x, y, x + 512, y + 512))
        sink.close()
