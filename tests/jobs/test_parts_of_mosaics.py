"""A part of a mosaic, a smaller one, and what is remembered of the brightness of its tiles."""

import json

import numpy as np
import pytest
import tifffile
import zarr

from demis_ij.config import RenderConfig
from demis_ij.errors import InputError
from demis_ij.geometry import Box
from demis_ij.images import TileStore
from demis_ij.jobs import plans, run_render
from demis_ij.jobs.mosaics import part_of
from demis_ij.pools import open_pool
from demis_ij.records import Affine, Layout, Tile
from demis_ij.render import Canvas, solve_intensity

SIDE = 128


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    """5 x 16 tiles of one texture, whose brightness and contrast differ: two groups of neighbours."""
    folder = tmp_path_factory.mktemp("tiles")
    y, x = np.mgrid[0:700, 0:1900]
    scene = 120 + 40 * np.sin(x / 9) * np.cos(y / 7) + 15 * np.sin((x + y) / 31)
    rng = np.random.default_rng(0)
    tiles = []
    for k in range(80):
        left, top = k % 16 * 110, k // 16 * 110
        gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-10, 10)
        part = scene[top : top + SIDE, left : left + SIDE] * gain + offset
        tifffile.imwrite(folder / f"{k}.tif", np.clip(part, 0, 255).astype(np.uint8))
        tiles.append(Tile(str(k), folder / f"{k}.tif", (SIDE, SIDE), Affine.translation(left, top)))
    return Layout(tuple(tiles))


def drawn(layout, out, **options):
    config = RenderConfig(formats=("ome-zarr",), correct_intensity=False)
    run_render([layout], out, config, **options)
    return zarr.open_group(out / "mosaic.ome.zarr", mode="r")["0"][:]


def test_a_region_is_cut_out_of_the_mosaic(layout, tmp_path):
    whole = drawn(layout, tmp_path / "a")

    part = drawn(layout, tmp_path / "b", region=Box(301, 202, 901, 402))
    past = drawn(layout, tmp_path / "c", region=Box(1700, 500, 3000, 3000))

    np.testing.assert_array_equal(part, whole[202:402, 301:901])  # tiles lie on whole pixels
    np.testing.assert_array_equal(past, whole[500:, 1700:])


def test_a_smaller_mosaic_is_the_mean_of_the_larger(layout, tmp_path):
    whole = drawn(layout, tmp_path / "a", region=Box(400, 200, 800, 400)).astype(float)

    half = drawn(layout, tmp_path / "b", region=Box(400, 200, 800, 400), scale=0.5)

    mean = whole.reshape(100, 2, 200, 2).mean(axis=(1, 3))
    assert half.shape == (100, 200)
    # 1 grey: where tiles are blended the order of mean and blend differs, else it is rounding
    assert np.quantile(np.abs(half - mean), 0.99) <= 1.0


def test_a_region_at_a_scale_lies_where_it_does_in_the_scaled_mosaic():
    part = part_of(Canvas((100, -40), (1000, 2000)), Box(200, 300, 600, 500), 0.25)

    assert part == Canvas((75, 65), (50, 100), 0.25)


def test_a_region_outside_is_one_line(layout, tmp_path):
    with pytest.raises(InputError, match="lies outside: the mosaic has"):
        drawn(layout, tmp_path / "a", region=Box(9000, 0, 9100, 100))
    assert not (tmp_path / "a").exists()


def test_brightness_is_the_same_by_threads_and_by_workers(layout):
    one = solve_intensity(layout, TileStore())

    assert solve_intensity(layout, TileStore(), threads=2) == one
    with open_pool(2) as pool:
        assert solve_intensity(layout, TileStore(), pool=pool) == one
    assert np.ptp([gain for gain, _ in one.values()]) > 0.1


class Counting(TileStore):
    def __init__(self):
        super().__init__()
        self.asked = set()

    def image(self, tile):
        self.asked.add(tile.id)
        return super().image(tile)


def test_brightness_that_is_remembered_is_not_looked_at_again(layout, tmp_path):
    known, store = tmp_path / "known.jsonl", Counting()
    first = solve_intensity(layout, store, remember=known)
    again = Counting()
    assert solve_intensity(layout, again, remember=known) == first
    assert (len(store.asked), len(again.asked)) == (80, 0)
    assert len(known.read_text().splitlines()) == 3  # a line a group

    known.write_bytes(known.read_bytes()[:-7])  # cut off while it was written
    torn = Counting()
    assert solve_intensity(layout, torn, remember=known) == first
    assert 0 < len(torn.asked) < 80

    moved = layout.moved({"0": Affine.translation(1, 0)})
    partly = Counting()
    assert solve_intensity(moved, partly, remember=known) != first
    assert "0" in partly.asked
    assert "79" not in partly.asked
    assert all(json.loads(line)["key"] for line in known.read_text().splitlines())


def test_sections_whose_mosaics_would_be_one_file_are_refused_before_anything_is_drawn(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "CASE_BLIND", True)
    few = layout.tiles[:2]
    both = [Layout(few, section=name) for name in ("A", "a")]

    with pytest.raises(InputError, match="sections 'A' and 'a' would have the same files"):
        run_render(both, tmp_path / "out", RenderConfig(formats=("png",)))
    assert not (tmp_path / "out").exists()
