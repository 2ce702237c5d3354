"""Datasets: exact truth in every layout, splits that do not leak, the same everywhere, resumed, never written over."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import tifffile
from numpy.testing import assert_allclose

from demis_ij import formats
from demis_ij.config import GRID_PRESETS, GridsConfig
from demis_ij.errors import InputError
from demis_ij.synth import read_truth
from demis_ij.synth.dataset import check_dataset, make_dataset, read_demis_dataset
from demis_ij.synth.dataset.demis import read_labels, read_splits

TINY = {"tile_px": 96, "max_rows": 2, "max_cols": 3}


def picture(number, rows=260, cols=340):
    """Return a picture made of whole numbers only, so that its every pixel is the same on every machine."""
    y, x = np.mgrid[0:rows, 0:cols].astype(np.uint64)
    value = x * np.uint64(2654435761) + y * np.uint64(40503 * 65537) + np.uint64(number * 977)
    value = ((value ^ (value >> np.uint64(13))) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    grey = value.astype(np.int64) % 256
    for _ in range(3):
        grey = sum(np.roll(np.roll(grey, a, 0), b, 1) for a in range(3) for b in range(3)) // 9
    return ((grey - grey.min()) * 255 // (grey.max() - grey.min())).astype(np.uint8)


def config(preset="ours", **values):
    return GridsConfig(**{**GRID_PRESETS[preset], **TINY, **values})


def everything(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of six pictures in three formats, with a drawing on one of them."""
    folder = tmp_path_factory.mktemp("images")
    (folder / "more").mkdir()
    for k in range(4):
        tifffile.imwrite(folder / f"{k}.tif", picture(k))
    cv2.imwrite(str(folder / "more" / "4.png"), picture(4))
    tifffile.imwrite(folder / "more" / "5.tiff", picture(5).astype(np.uint16) * 40 + 7)
    tifffile.imwrite(folder / "0_mask.tif", picture(9))
    return folder


@pytest.fixture(scope="module")
def made(images, tmp_path_factory):
    """Return a dataset with a bit of everything, which no test changes."""
    out = tmp_path_factory.mktemp("made") / "set"
    chosen = config(resin_frac=0.2, missing_frac=0.1, stage_error_frac=0.05, blur_px=1.0, decoy_frac=0.5)
    make_dataset([images], out, chosen, seed=4)
    return out


@pytest.fixture(scope="module")
def plain(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("plain") / "set"
    make_dataset([images], out, config(missing_frac=0.1, stage_error_frac=0.05, blur_px=1.0), seed=6)
    return out


@pytest.fixture(scope="module")
def published(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("published") / "set"
    make_dataset([images], out, config("published", tile_px=128, max_cols=2), seed=2, preset="published")
    return out


def hash_of(folder):
    """Return (digest of all poses to 1e-6 px, digest of all pixels)."""
    truth, pixels = hashlib.sha256(), hashlib.sha256()
    for grid in read_demis_dataset(folder):
        for tile in grid.truth.truth:
            numbers = [f"{round(v, 6) + 0.0:.6f}" for row in tile.to_world.rows for v in row]
            truth.update(" ".join([grid.name, tile.id, *numbers]).encode())
            pixels.update(tifffile.imread(tile.path).tobytes())
    return truth.hexdigest()[:16], pixels.hexdigest()[:16]


GOLDEN = {
    "made": ("77cbd1d66931aa1d", "d538e6331ebdd23d"),
    "published": ("1d4fe6f1a571519c", "af395b5ed94c71fc"),
}  # seen the same with all of numpy's, OpenCV's and glibc's vector instructions switched off


@pytest.mark.parametrize("which", GOLDEN)
def test_a_dataset_is_the_same_on_every_machine(which, request):
    assert hash_of(request.getfixturevalue(which)) == GOLDEN[which]


def test_all_images_are_found_and_the_drawing_is_not(made):
    record = json.loads((made / "dataset.json").read_text())

    assert [s["name"].partition("/")[2] for s in record["sources"]] == [
        "0.tif", "1.tif", "2.tif", "3.tif", "more/4.png", "more/5.tiff",
    ]  # fmt: skip
    assert record["complete"] is True
    assert {len(g) for g in read_splits(made / "splits").values()} == {4, 1}


def offset_px(one, other):
    """Return the (x, y) shift between two nearly aligned images, by least squares on the gradient."""
    one, other = (cv2.GaussianBlur(i.astype(float), (0, 0), 2)[6:-6, 6:-6] for i in (one, other))
    one, other = ((i - i.mean()) / i.std() for i in (one, other))
    gy, gx = np.gradient((one + other) / 2)
    return np.linalg.lstsq(np.stack([gx.ravel(), gy.ravel()], 1), (one - other).ravel(), rcond=None)[0]


@pytest.mark.parametrize("which", ["plain", "published"])
def test_tiles_show_the_source_where_their_labels_say(which, request, images):
    folder = request.getfixturevalue(which)
    for grid in read_demis_dataset(folder):
        facts = json.loads((folder / "grids" / grid.name / "truth.json").read_text())
        name = facts["source"].partition("/")[2]
        source = tifffile.imread(images / name) if "tif" in name else cv2.imread(str(images / name), 0)
        source = source.astype(float) / (40 if source.dtype == np.uint16 else 1)
        side = grid.labels.tile_shape[0]
        for label in grid.labels.tiles:
            turn, middle = np.radians(label.turn_deg), side // 2
            y, x = np.mgrid[0:side, 0:side].astype(float) - middle
            px = np.cos(turn) * x - np.sin(turn) * y + middle + label.xy[0]
            py = np.sin(turn) * x + np.cos(turn) * y + middle + label.xy[1]
            seen = cv2.remap(source, px.astype(np.float32), py.astype(np.float32), cv2.INTER_CUBIC)
            tile = tifffile.imread(folder / "images" / label.file)
            assert np.corrcoef(seen.ravel(), tile.ravel())[0, 1] > 0.9
            assert np.abs(offset_px(tile, seen)).max() < 0.1  # px


@pytest.mark.parametrize("which", ["made", "published"])
def test_labels_indices_and_truth_say_the_same(which, request):
    folder = request.getfixturevalue(which)
    for grid in read_demis_dataset(folder):
        with np.load(folder / "indices" / f"{grid.name}.npz") as held:
            names, pairs, poses = held["image_paths"], held["pair_infos"], held["poses"]
        ids = {t.path.name: t.id for t in grid.truth.truth}
        assert {(ids[names[a]], ids[names[b]]) for a, b in pairs} == set(grid.pairs)
        assert set(grid.pairs) == grid.truth.resin_pairs | grid.truth.textured_pairs
        assert_allclose(poses[:, 2], np.tile([0, 0, 1, 0], (len(names), 1)))
        of_name = dict(zip(names, poses, strict=True))
        for label in grid.labels.tiles:
            assert_allclose(
                of_name[label.file][np.ix_([0, 1], [0, 1, 3])], grid.labels.to_grid(label).matrix[:2], atol=1e-8
            )
        real = {t.path.name: t.to_world for t in grid.truth.truth}
        for a, b in pairs:
            by_index = np.linalg.inv(poses[a]) @ poses[b]
            by_truth = (real[names[a]].inverse @ real[names[b]]).matrix
            assert_allclose(by_index[np.ix_([0, 1], [0, 1, 3])], by_truth[:2], atol=1e-6)  # px


def test_the_published_presets_poses_are_whole_and_walk_as_em424s_do(published):
    grids = read_demis_dataset(published)
    walks = [[t.turn_deg for t in g.labels.tiles] for g in grids]
    shared = 128 - (128 - round(128 * 0.2)) + 12  # px: the base overlap and ceil(128 sin 5 degrees)
    for grid, walk in zip(grids, walks, strict=True):
        assert walk[0] == 0
        assert all(v == int(v) and -5 <= v <= 4 for v in walk)
        assert all(abs(b - a) <= 5 for a, b in pairwise(walk))
        at = {t.position: t.xy for t in grid.labels.tiles}
        x0, y0 = at[0, 0]
        for (row, col), (x, y) in at.items():
            right, down = x - x0 - col * (128 - shared), y - y0 - row * (128 - shared)
            assert right in (range(4) if col else [0])  # ceil(128 * 0.03) = 4 values
            assert down in (range(4) if row else [0])
    text = (published / "labels" / f"{grids[0].name}.txt").read_text()
    assert "." not in text.replace("../images", "").replace(".tif", "")
    assert any(v != 0 for walk in walks for v in walk)


def test_noise_has_mean_zero_and_the_published_order(images, tmp_path):
    """The defect of the published code, noise clipped at zero (mean +2), is not repeated."""
    flat = tmp_path / "flat"
    flat.mkdir()
    image = np.full((420, 420), 120, np.uint8)
    image[:8] = 119  # one grey value only is no image
    tifffile.imwrite(flat / "a.tif", image)
    make_dataset(
        [flat], tmp_path / "set", GridsConfig(**{**GRID_PRESETS["published"], "tile_px": 256, "rows": 1, "cols": 1})
    )

    tile = tifffile.imread(next((tmp_path / "set" / "images").iterdir()))[20:].astype(float)

    gain = tile.std() / 5.0
    assert 0.8 < gain < 1.2  # 1 + N(0, 0.057): the noise was added before
    assert abs(tile.mean() - 120 * gain) < 4 * 8.66 + 2
    assert abs(np.mean(((tile - tile.mean()) / tile.std()) ** 3)) < 0.1  # no skew: nothing was clipped


def test_layout_files_name_the_images_and_move_with_the_dataset(made, tmp_path):
    moved = made.rename(made.parent / "elsewhere")
    try:
        grid = read_demis_dataset(moved)[0]
        folder = moved / "grids" / grid.name
        for name in ("project.xml", "TileConfiguration.txt"):
            document = formats.read(folder / name)
            assert not document.warnings
            assert all(t.path.is_file() for t in document.layouts[0])
            truth = read_truth(folder).named_as(document.layouts[0])
            for tile in document.layouts[0]:
                assert_allclose(truth.layout[tile.id].to_world.matrix, tile.to_world.matrix, atol=1e-9)
    finally:
        moved.rename(made)


def test_without_truth_json_the_labels_alone_give_the_same_pairs(made, tmp_path):
    """What reads the authors' own EM424: no folder ``grids``, the poses from the labels."""
    for name in ("images", "labels", "splits"):
        (tmp_path / name).symlink_to(made / name)

    for plain, full in zip(read_demis_dataset(tmp_path), read_demis_dataset(made), strict=True):
        assert (plain.name, plain.split, plain.pairs) == (full.name, full.split, full.pairs)
        for a, b in plain.pairs:
            ours = (plain.truth.truth[a].to_world.inverse @ plain.truth.truth[b].to_world).matrix
            theirs = (full.truth.truth[a].to_world.inverse @ full.truth.truth[b].to_world).matrix
            assert_allclose(ours, theirs, atol=1e-6)
        assert plain.truth.layout.ids == full.truth.layout.ids
        steps = [t.to_world.tx for t in plain.truth.layout]
        assert max(steps) > 60  # px: a regular grid, not all in one place


def test_a_labels_file_as_em424_writes_them_is_read(tmp_path):
    path = tmp_path / "em424_g00007.txt"
    path.write_text(
        "1 \t2 \t1024 \t1024 \n"
        "../images/em424_g00007_t00000_s00000.tif\t0 \t0 \t90   \t90   \t 0  \n"
        "../images/em424_g00007_t00001_s00000.tif\t0 \t1 \t827  \t90   \t-3  \n"
    )

    labels = read_labels(path)

    assert (labels.name, labels.shape, labels.tile_shape) == ("em424_g00007", (1, 2), (1024, 1024))
    assert labels.tiles[1].file == "em424_g00007_t00001_s00000.tif"
    pose = labels.to_grid(labels.tiles[1])
    assert_allclose(pose([512, 512]), [737 + 512, 512])
    assert_allclose(np.degrees(pose.angle), -3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1"),
        ("2 2 64\n", "line 1"),
        ("1 1 64 64\n", "holds no tile"),
        ("1 1 64 64\na.tif 0 0 1\n", "line 2"),
        ("1 1 64 64\na.tif 0 0 nan 0 0\n", "line 2"),
        ("1 1 64 64\na.tif 0 1 0 0 0\n", "outside the grid"),
        ("1 2 64 64\na.tif 0 1 0 0 0\nb.tif 0 1 0 0 0\n", "two tiles"),
    ],
)
def test_a_broken_labels_file_names_its_line(tmp_path, text, told):
    path = tmp_path / "x_g00000.txt"
    path.write_text(text)

    with pytest.raises(InputError, match=told):
        read_labels(path)


def test_a_run_that_is_interrupted_goes_on_to_the_same_dataset(images, made, tmp_path):
    chosen = GridsConfig(**json.loads((made / "dataset.json").read_text())["config"])

    def stop(what, done, _total):
        if what == "tiles" and done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_dataset([images], tmp_path / "set", chosen, seed=4, progress=stop)
    assert not (tmp_path / "set" / "DATASET.md").exists()
    assert not list((tmp_path / "set").rglob("*.part*"))
    again = make_dataset([images], tmp_path / "set", chosen, seed=4)

    assert again.kept > 0
    assert everything(tmp_path / "set") == everything(made)


def test_a_dataset_that_is_whole_is_left_alone(images, made):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()}
    chosen = GridsConfig(**json.loads((made / "dataset.json").read_text())["config"])

    assert make_dataset([images], made, chosen, seed=4).kept == 6

    assert {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("change", "told"),
    [({"seed": 5}, "seed 4, not 5"), ({"overlap": 0.3}, "overlap 0.15, not 0.3"), ({"image": True}, "is new")],
)
def test_another_dataset_is_not_written_over(images, made, tmp_path, change, told):
    chosen = GridsConfig(**json.loads((made / "dataset.json").read_text())["config"])
    before = everything(made)
    seed = change.pop("seed", 4)
    folders = [images]
    if change.pop("image", False):
        tifffile.imwrite(tmp_path / "new.tif", picture(7))
        folders.append(tmp_path)

    with pytest.raises(InputError, match=told):
        make_dataset(folders, made, replace(chosen, **change), seed=seed)

    assert everything(made) == before


def test_a_grid_does_not_depend_on_the_other_images(images, published, tmp_path):
    make_dataset([images / "3.tif"], tmp_path / "set", config("published", tile_px=128, max_cols=2), seed=2)

    (alone,) = read_demis_dataset(tmp_path / "set")
    other = next(g for g in read_demis_dataset(published) if g.name == "demis_g00003")
    for a, b in zip(alone.truth.truth, other.truth.truth, strict=True):
        assert a.to_world == b.to_world
        assert np.array_equal(tifffile.imread(a.path), tifffile.imread(b.path))


def test_equal_images_under_two_names_count_once(images, tmp_path):
    folder = tmp_path / "twins"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", picture(1))
    cv2.imwrite(str(folder / "b.png"), picture(1))
    tifffile.imwrite(folder / "c.tif", picture(2))

    found = make_dataset([folder], tmp_path / "set", config())

    assert [s["name"] for s in found.record["sources"]] == ["twins/a.tif", "twins/c.tif"]
    assert "twins/b.png: the same image as twins/a.tif" in found.warnings


def test_images_of_one_folder_can_be_kept_in_one_split(tmp_path):
    for k in range(6):
        folder = tmp_path / "stacks" / f"volume{k // 2}"
        folder.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(folder / f"{k}.tif", picture(k))

    made = make_dataset([tmp_path / "stacks"], tmp_path / "set", config(split_by="folder"), seed=3)

    split = {s["name"].split("/")[1]: set() for s in made.record["sources"]}
    for s in made.record["sources"]:
        split[s["name"].split("/")[1]].add(s["split"])
    assert sorted(v for values in split.values() for v in values) == ["test", "train", "val"]


def test_check_finds_what_leaks(made, tmp_path):
    def copy():
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        (folder / "splits").mkdir(parents=True)
        for name in ("images", "labels", "indices", "grids"):
            (folder / name).symlink_to(made / name)
        for path in [*(made / "splits").iterdir(), made / "dataset.json"]:
            (folder / path.relative_to(made)).write_bytes(path.read_bytes())
        return folder

    assert check_dataset(copy())["grids"] == 6
    splits = read_splits(made / "splits")

    twice = copy()
    with (twice / "splits" / "test_list.txt").open("a") as file:
        file.write(splits["train"][0] + "\n")
    with pytest.raises(InputError, match=rf"leaks: grid {splits['train'][0]} is in train and in test"):
        check_dataset(twice)

    same = copy()
    record = json.loads((same / "dataset.json").read_text())
    by_name = {g["name"]: g for g in record["grids"]}
    by_name[splits["test"][0]]["source"] = by_name[splits["train"][0]]["source"]
    (same / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"leaks: source .* is in .* and in"):
        check_dataset(same)

    equal = copy()
    record = json.loads((equal / "dataset.json").read_text())
    names = {g["name"]: g["source"] for g in record["grids"]}
    digests = {s["name"]: s for s in record["sources"]}
    twin = digests[names[splits["val"][0]]]
    twin["pixels_sha256"] = digests[names[splits["train"][1]]]["pixels_sha256"]
    (equal / "dataset.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"leaks: .* the same image, are in"):
        check_dataset(equal)

    stranger = copy()
    (stranger / "splits" / "val_list.txt").write_text("nobody_g00099\n")
    with pytest.raises(InputError, match="nobody_g00099"):
        check_dataset(stranger)


def test_check_compares_files_where_nothing_says_what_was_cut(made, tmp_path):
    folder = tmp_path / "foreign"
    (folder / "images").mkdir(parents=True)
    for name in ("labels", "splits", "indices"):
        (folder / name).symlink_to(made / name)
    for path in (made / "images").iterdir():
        (folder / "images" / path.name).write_bytes(path.read_bytes())
    assert check_dataset(folder)["warnings"] == []

    grids = {g.name: g for g in read_demis_dataset(folder)}
    splits = read_splits(made / "splits")
    train, test = (grids[splits[name][0]].labels.tiles[0].file for name in ("train", "test"))
    (folder / "images" / test).write_bytes((folder / "images" / train).read_bytes())
    with pytest.raises(InputError, match="the same image, are in"):
        check_dataset(folder)
    (folder / "images" / test).unlink()
    with pytest.raises(InputError, match=f"images/{test} is missing"):
        check_dataset(folder)


def test_check_warns_of_poses_that_are_not_the_labels(made, tmp_path):
    for name in ("images", "labels", "splits"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "indices").mkdir()
    for path in (made / "indices").iterdir():
        with np.load(path) as held:
            arrays = dict(held)
        arrays["poses"][-1, 0, 3] += 2.5 if path.stem.endswith("1") else 0
        np.savez(tmp_path / "indices" / path.name, **arrays)

    warnings = check_dataset(tmp_path)["warnings"]

    assert len(warnings) == 1
    assert "demis_g00001" in warnings[0]
    assert "2.5 px" in warnings[0]
