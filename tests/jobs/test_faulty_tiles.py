"""Tiles that are missing, cut short, black, there twice or exchanged: the run is complete and each is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from demis_ij import jobs
from demis_ij.config import StitchConfig
from demis_ij.images import TileStore
from demis_ij.pairs import suspects
from demis_ij.pairs.suspects import find_suspects
from demis_ij.records import Affine, Layout, Tile
from demis_ij.stitch import make_matcher
from demis_ij.testing.faults import spoil_tiles
from demis_ij.testing.made_stacks import noise_picture, picture_shape, write_stack

SIFT = StitchConfig(matcher="sift", resolution=1.0)
CALLED = {"missing": "missing", "truncated": "unreadable", "black": "blank", "duplicate": "duplicate",
          "swapped": "exchanged"}  # fmt: skip


def section(folder: Path, rows: int, cols: int):
    """Return one section of noise on disk."""
    shape = picture_shape(rows, cols, 128, 0.35)
    pictures = iter([noise_picture(shape, np.random.default_rng(5))])
    rng = np.random.default_rng(0)
    return write_stack(folder, pictures, rng, rows=rows, cols=cols, tile_px=128, overlap=0.35)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Return a run of 36 tiles of which six are faulty, one of each kind, and what was done to which."""
    folder = tmp_path_factory.mktemp("faulty")
    made = section(folder / "stack", 6, 6)
    hit = spoil_tiles(sorted(made.tiles.values()), np.random.default_rng(3), 1)
    job = jobs.StitchJob(config=SIFT, stage_axes="+x+y", write_mosaic=False)
    result = jobs.run_stitch(jobs.read_layout(made.layout), folder / "run", job)
    return made, {f"s0000/{path.name}": kind for path, kind in hit.items()}, result


def test_each_faulty_tile_is_called_what_it_is_and_no_good_one_is(faulty):
    _, hit, result = faulty
    told = {s.tile: s.kind for s in result.results[0].suspects}
    assert told == {name: CALLED[kind] for name, kind in hit.items()}


def test_each_is_named_in_the_warnings_and_on_the_page(faulty):
    _, hit, result = faulty
    page = result.files["report"].read_text()
    for name in hit:
        assert any(name in line or name.split("/")[1] in line for line in result.warnings), name
        assert name in page
    exchanged = [name for name, kind in hit.items() if kind == "swapped"]
    assert any(f"tile {exchanged[0]}: looks exchanged with tile {exchanged[1]}" in line for line in result.warnings)


def test_no_tile_is_named_twice_for_the_same_thing(faulty):
    _, hit, result = faulty
    for name in hit:
        assert sum(line.startswith(f"tile {name}: ") for line in result.warnings) <= 1, name


def test_good_tiles_are_where_they_belong_and_faulty_ones_are_not_believed(faulty):
    made, hit, result = faulty
    solved = result.results[0].solution
    good = [t for t in solved.layout if t.id not in hit]
    assert all(result.results[0].placed_by[t.id] == "sift" for t in good)
    for fixed, moving in solved.pair_residual_px:
        if solved.believes(fixed, moving):
            assert not {fixed, moving} & set(hit)
            one, two = solved.layout[fixed], solved.layout[moving]
            should = made.truth["0", fixed].inverse @ made.truth["0", moving]
            found = one.to_world.inverse @ two.to_world
            assert np.abs(found(two.corners) - should(two.corners)).max() < 0.5  # px, as in a run without faults


def layout_of(tmp_path: Path, images: dict[str, np.ndarray], pitch: float) -> Layout:
    """Return images in a row."""
    tiles = []
    for i, (name, image) in enumerate(images.items()):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
        tiles.append(Tile(name, tmp_path / f"{name}.tif", image.shape, Affine.translation(i * pitch, 0)))
    return Layout(tuple(tiles))


def test_a_field_taken_twice_is_a_duplicate_although_its_noise_differs(tmp_path):
    rng = np.random.default_rng(1)
    wide = noise_picture((128, 600), rng, fine_px=2.5)
    cut = [wide[:, 100 * i : 100 * i + 128] for i in range(4)]
    cut[2] = cut[1]  # the stage did not move
    images = {f"t{i}": np.clip(c + rng.normal(0, 8, c.shape), 0, 255).astype(np.uint8) for i, c in enumerate(cut)}
    layout = layout_of(tmp_path, images, 100)

    (found,) = find_suspects(layout, ["t2"], TileStore(), make_matcher("sift", SIFT), SIFT)

    assert (found.tile, found.kind, found.other) == ("t2", "duplicate", "t1")


def test_bright_middles_do_not_make_tiles_alike(tmp_path):
    rng = np.random.default_rng(2)
    x = np.linspace(-1, 1, 128)
    shade = 80 * (1 - x[:, None] ** 2 - x**2 / 2)
    images = {
        f"t{i}": np.clip(0.4 * noise_picture((128, 128), rng) + 60 + shade, 0, 255).astype(np.uint8) for i in range(4)
    }
    layout = layout_of(tmp_path, images, 110)

    assert find_suspects(layout, ["t2"], TileStore(), make_matcher("sift", SIFT), SIFT) == []


def test_a_faint_tile_is_said_to_show_almost_nothing(tmp_path):
    rng = np.random.default_rng(2)
    images = {f"t{i}": noise_picture((128, 128), rng).astype(np.uint8) for i in range(4)}
    images["t1"] = (128 + 0.02 * (images["t1"].astype(float) - 128) + rng.normal(0, 4, (128, 128))).astype(np.uint8)
    layout = layout_of(tmp_path, images, 110)

    (found,) = find_suspects(layout, ["t1"], TileStore(), make_matcher("sift", SIFT), SIFT)

    assert found.kind == "blank"
    assert "shows almost nothing" in found.said


def test_without_lonely_tiles_nothing_is_read(tmp_path, monkeypatch):
    layout = layout_of(tmp_path, {f"t{i}": np.zeros((32, 32), np.uint8) for i in range(4)}, 30)

    def never(*_args):
        raise AssertionError

    monkeypatch.setattr(TileStore, "image", never)
    assert find_suspects(layout, [], TileStore(), make_matcher("sift", SIFT), SIFT) == []


def test_the_tiles_nearest_to_each_lonely_one_are_found_as_by_looking_at_all():
    side, rng = 12, np.random.default_rng(3)
    ids = [f"{r}_{c}" for r in range(side) for c in range(side)]
    layout = Layout(tuple(Tile(name, Path("x"), (10, 10)) for name in ids))
    grid = 9.0 * np.stack(np.divmod(np.arange(side**2), side), 1)
    lonely = ids[: side**2 // 3]
    for middle in (grid, grid + rng.normal(0, 1, grid.shape)):  # with ties, and without
        found = suspects._nearest(middle, layout, lonely)
        for name in lonely:
            away = np.linalg.norm(middle - middle[layout.index(name)], axis=1).round(6)
            order = sorted(set(ids) - {name}, key=lambda n: (away[layout.index(n)], layout.index(n)))
            wanted = [*order[: suspects.NEAREST], *[n for n in order if n in lonely][: suspects.NEAREST]]
            assert found[name] == list(dict.fromkeys(wanted))
