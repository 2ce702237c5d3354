"""Registering files: what is read of them, what a run folder holds, and a folder that is watched while it fills."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from made_pictures import cells, off
from registered import SIDE, TRUTH, grey, write_pair, xray

from demis_ij import formats
from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError, WeightsError
from demis_ij.formats.warps_bunwarpj import read_raw_transformation
from demis_ij.jobs.register import files as register_files_of_run
from demis_ij.jobs.register import watch as register_watch
from demis_ij.jobs.register.pictures import all_samples, read_picture
from demis_ij.jobs.register.registering import register_files
from demis_ij.jobs.register.runs import run_register
from demis_ij.jobs.register.watch import Arrival, watch
from demis_ij.records import Affine
from demis_ij.register.looks import Look
from demis_ij.register.network import network_guess

QUICK = RegisterConfig(weights="none", reach="near")


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return write_pair(tmp_path / "data")


def likeness(one: np.ndarray, two: np.ndarray, known: np.ndarray) -> float:
    return float(np.corrcoef(one[known].astype(float), two[known].astype(float))[0, 1])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_huge_image_is_read_reduced_and_registered_in_its_own_px(tmp_path: Path) -> None:
    fixed, moving = (cv2.resize(i, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC) for i in pictures())
    tifffile.imwrite(tmp_path / "fixed.tif", grey(fixed), tile=(256, 256))
    tifffile.imwrite(tmp_path / "moving.tif", grey(moving))
    config = RegisterConfig(weights="none", reach="near", side_px=128)

    found = register_files(tmp_path / "fixed.tif", tmp_path / "moving.tif", config)

    assert found.fixed.reduced == found.moving.reduced == 2
    assert found.fixed.image.shape == (SIDE * 4, SIDE * 4)
    eight = Affine(8, 0, 0, 8, 3.5, 3.5)
    assert (
        off(found.registration.to_moving, eight @ TRUTH @ eight.inverse, 8 * SIDE) < 8
    )  # px, one of those that were looked at
    assert 0.1 < found.registration.sigma_px < 8


def pictures() -> tuple[np.ndarray, np.ndarray]:
    from made_pictures import pair

    return pair(1, TRUTH, SIDE)


@pytest.mark.parametrize("reduced", [1, 2, 5])
def test_px_of_an_image_that_was_read_reduced_lead_back(tmp_path: Path, reduced: int) -> None:
    image = np.full((700, 660), 10, np.uint16)
    image[300:310, 400:410] = 1000
    image[0, 0] = 11
    tifffile.imwrite(tmp_path / "i.tif", image)

    found = read_picture(tmp_path / "i.tif", 700 // 4 // reduced)

    assert found.reduced == reduced
    y, x = np.argwhere(found.image > 500).mean(axis=0)
    assert np.allclose(found.to_full([x, y]), [404.5, 304.5], atol=0.5)


def test_nan_is_no_data_also_where_an_image_is_reduced(tmp_path: Path) -> None:
    image = cells(1, 600) + np.random.default_rng(1).normal(0, 3, (600, 600)).astype(np.float32)
    image[100:200, 100:200] = np.nan
    tifffile.imwrite(tmp_path / "i.tif", image)

    found = read_picture(tmp_path / "i.tif", 64)

    assert found.reduced == 2
    assert not found.mask[55:95, 55:95].any()
    assert found.mask[110:].all()


def test_pixel_sizes_are_those_of_the_files(two: tuple[Path, Path]) -> None:
    small = cv2.resize(tifffile.imread(two[1]), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    for path, image, side in ((two[0], tifffile.imread(two[0]), 4.0), (two[1], small, 8.0)):
        tifffile.imwrite(path, image, imagej=True, resolution=(1 / side, 1 / side), metadata={"unit": "nm"})

    found = register_files(*two, QUICK)

    assert found.pixel_ratio == pytest.approx(0.5)
    assert found.registration.matched
    assert found.registration.to_moving.scale == pytest.approx(TRUTH.scale / 2, rel=0.01)


def test_an_ome_zarr_is_registered_and_its_channels_are_drawn(two: tuple[Path, Path], tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "m.ome.zarr", mode="w", zarr_format=2)
    image = tifffile.imread(two[1])
    group.create_array("0", data=np.stack([image, image // 2])[:, None])
    axes = [{"name": n, "type": "space"} for n in "czyx"]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]

    found = run_register(two[0], tmp_path / "m.ome.zarr", tmp_path / "run", QUICK)

    assert tifffile.imread(found.files["registered"]).shape == (2, SIDE, SIDE)
    assert any("TrakEM2 opens no OME-Zarr" in note for note in found.notes)
    assert "trakem2" not in found.files


# --- a run folder -----------------------------------------------------------------------------------------------------


def test_the_registered_image_is_the_moving_one_on_the_fixed_grid(two: tuple[Path, Path], tmp_path: Path) -> None:
    found = run_register(*two, tmp_path / "run", QUICK)

    with tifffile.TiffFile(found.files["registered"]) as file:
        assert file.is_imagej
        image = file.asarray()
    mask = tifffile.imread(found.files["mask"]) > 0
    assert image.dtype == np.uint16
    assert image.shape == mask.shape == (SIDE, SIDE)
    assert not image[~mask].any()
    assert 0.5 < mask.mean() < 1
    assert likeness(tifffile.imread(two[0]), image, mask) < -0.85  # the moving image is inverted
    raw = read_raw_transformation(found.files["bunwarpj"])
    here = np.argwhere(mask)[::97, ::-1].astype(float)
    assert np.allclose(raw(here), Affine.from_matrix(found.facts["to_moving"])(here), atol=0.01)


def test_trakem2_shows_the_moving_image_where_the_transform_says(two: tuple[Path, Path], tmp_path: Path) -> None:
    found = run_register(*two, tmp_path / "run", QUICK)

    layouts = formats.read(found.files["trakem2"]).layouts
    (fixed,), (moving,) = layouts
    assert fixed.path == two[0]
    assert off(fixed.to_world, Affine(), SIDE) < 1e-6
    assert off(moving.to_world, Affine.from_matrix(found.facts["to_fixed"]), SIDE) < 1e-6


def test_colour_and_channels_keep_all_they_have(two: tuple[Path, Path], tmp_path: Path) -> None:
    image = tifffile.imread(two[1])
    red = (image >> 8).astype(np.uint8)
    colour = np.stack([red, 255 - red, red // 2], axis=-1)
    assert cv2.imwrite(str(tmp_path / "colour.png"), colour[..., ::-1])
    tifffile.imwrite(tmp_path / "channels.tif", np.stack([image, image // 3]), imagej=True, metadata={"axes": "CYX"})
    deep = np.stack([image, 60000 - image, image // 3], axis=-1)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep[..., ::-1])

    drawn = tifffile.imread(run_register(two[0], tmp_path / "colour.png", tmp_path / "a", QUICK).files["registered"])
    layers = run_register(two[0], tmp_path / "channels.tif", tmp_path / "b", QUICK).files["registered"]
    deeper = tifffile.imread(run_register(two[0], tmp_path / "deep.png", tmp_path / "c", QUICK).files["registered"])

    assert drawn.shape == (SIDE, SIDE, 3)
    inside = drawn[..., 1] > 0
    assert np.abs(drawn[inside].astype(int)[:, :2].sum(axis=1) - 255).max() <= 1
    assert tifffile.imread(layers).shape == (2, SIDE, SIDE)
    assert tifffile.imread(layers).dtype == np.uint16
    assert (deeper.shape, deeper.dtype) == ((3, SIDE, SIDE), np.uint16)  # ImageJ knows no RGB of 16 bit
    assert np.abs(deeper[:2, deeper[1] > 0].astype(int).sum(axis=0) - 60000).max() <= 1


def test_channels_of_files_are_told_apart_from_depth_and_alpha(tmp_path: Path) -> None:
    plane = grey(cells(1, 64))
    tifffile.imwrite(tmp_path / "z.tif", np.stack([plane] * 4), imagej=True, metadata={"axes": "ZYX"})
    deep = np.stack([[plane + k, plane + 9] for k in range(3)])
    tifffile.imwrite(tmp_path / "zc.tif", deep, imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(tmp_path / "rgb.tif", np.stack([plane] * 3, axis=-1), photometric="rgb")
    tifffile.imwrite(tmp_path / "rgba.tif", np.stack([plane] * 4, axis=-1), photometric="rgb", extrasamples=[2])

    found = {p.stem: all_samples(p) for p in tmp_path.iterdir()}

    assert {k: (len(v.planes), v.is_colour) for k, v in found.items()} == {
        "z": (1, False), "zc": (2, False), "rgb": (3, True), "rgba": (3, True),
    }  # fmt: skip
    assert all(np.array_equal(read, wrote) for read, wrote in zip(found["zc"].planes, deep[0], strict=True))


def test_what_was_interrupted_leaves_no_image_and_is_done_by_the_same_again(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if what == "written":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_register(*two, tmp_path / "run", QUICK, progress=stop)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"run.json"}

    found = run_register(*two, tmp_path / "run", QUICK)

    assert found.resumed is False
    assert all(p.exists() for p in found.files.values())
    shutil.copy(two[0], two[1])
    with pytest.raises(InputError, match="the tiles have changed since"):
        run_register(*two, tmp_path / "run", QUICK)


def test_the_room_on_the_disk_is_taken_before_anything_is_drawn(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file that runs out of disk while it is written ends the process: no line is said, and parts stay."""
    taken: dict[str, int] = {}

    def looked(*args: object, **more: object) -> None:
        taken.update({p.name: 512 * p.stat().st_blocks for p in (tmp_path / "run").glob(".*.part")})
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(register_files_of_run, "warped", looked)

    with pytest.raises(OSError, match="No space left"):
        run_register(*two, tmp_path / "run", QUICK)

    assert taken[".registered.tif.part"] >= 2 * SIDE * SIDE
    assert taken[".registered_mask.tif.part"] >= SIDE * SIDE
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"run.json"}


def test_a_folder_of_somebody_else_is_left_alone(two: tuple[Path, Path]) -> None:
    before = sorted(p.name for p in two[0].parent.iterdir())
    with pytest.raises(InputError, match="holds no run"):
        run_register(*two, two[0].parent, QUICK)
    assert sorted(p.name for p in two[0].parent.iterdir()) == before


# --- the network's start ----------------------------------------------------------------------------------------------


def small_network(path: Path) -> Path:
    import torch

    from demis_ij.nets.two_headed import Form, TwoHeaded
    from demis_ij.nets.two_headed_weights import save_two_headed

    torch.manual_seed(0)
    net = TwoHeaded(Form(side=64, widths=(4, 4, 4), coarse=4, fine=4, angles=3, scales=3, fine_count=3))
    save_two_headed(path, net, {"licence": "made up"})
    return path


def test_the_network_of_a_file_gives_a_start_that_the_search_can_do_without(
    two: tuple[Path, Path], tmp_path: Path
) -> None:
    weights = str(small_network(tmp_path / "net.safetensors"))
    guess = network_guess(RegisterConfig(weights=weights))
    assert guess is not None
    looks = [Look(i.astype(np.float32), np.ones(i.shape, bool), Affine()) for i in map(tifffile.imread, two)]
    assert isinstance(guess(*looks), Affine)

    found = register_files(*two, RegisterConfig(weights=weights, reach="near"))

    assert off(found.registration.to_moving, TRUTH, SIDE) < 0.6  # untrained: it is found out


def test_without_weights_that_ship_it_is_said_and_the_search_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    from demis_ij.nets import two_headed_weights, weights

    def none(name: str = "") -> Path:
        msg = "the weights that ship are missing"
        raise WeightsError(msg)

    monkeypatch.setattr(weights, "shipped", none)
    monkeypatch.setattr(two_headed_weights, "shipped", none)
    said: list[str] = []

    assert network_guess(RegisterConfig(), tell=said.append) is None
    assert said == ["no network, so the search begins: the weights that ship are missing"]
    with pytest.raises(WeightsError):
        network_guess(RegisterConfig())
    with pytest.raises(WeightsError):
        network_guess(RegisterConfig(method="network"), tell=said.append)
    assert network_guess(RegisterConfig(method="sift")) is None
    assert network_guess(RegisterConfig(weights="none")) is None


# --- a folder that is watched -----------------------------------------------------------------------------------------


class Clock:
    """Waits at once, and lets something happen at each wait."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], object]]) -> None:
        self.now, self.steps = 0.0, iter([*steps, *[lambda: None] * 6])
        monkeypatch.setattr(register_watch.time, "monotonic", lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        step = next(self.steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()


def watched(
    folder: Path, fixed: Path, monkeypatch: pytest.MonkeyPatch, steps: list[Callable[[], object]], **more: object
) -> list[Arrival]:
    """Return all that is said of a folder while steps happen, until it is interrupted."""
    clock, told = Clock(monkeypatch, steps), []
    found: Iterator[Arrival] = watch(folder, fixed, QUICK, wait=clock.wait, **more)  # type: ignore[arg-type]
    try:
        for arrival in found:
            told.append(arrival)
    except KeyboardInterrupt:
        return told
    return told


def test_images_are_registered_as_they_arrive_and_not_before_they_are_whole(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, whole = tmp_path / "in", two[1].read_bytes()
    folder.mkdir()
    arriving = folder / "a.tif"
    nothing: Callable[[], object] = lambda: None  # noqa: E731
    steps = [
        lambda: arriving.write_bytes(whole[:2000]),
        lambda: arriving.write_bytes(whole[:30000]),
        lambda: arriving.write_bytes(whole),
        nothing, nothing, nothing,
        lambda: shutil.copy(two[0], folder / "b.png.part"),
        lambda: shutil.copy(two[0], folder / "b.tif"),
    ]  # fmt: skip

    told = watched(folder, two[0], monkeypatch, steps)

    assert [a.outcome for a in told] == ["", "matched", "matched"]
    assert [a.line["file"] for a in told[1:]] == ["a.tif", "b.tif"]
    assert "a second" in told[2].said
    lines = (tmp_path / "in.registrations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [a.line for a in told[1:]]
    assert off(Affine.from_matrix(told[1].line["registration"]["to_moving"]), TRUTH, SIDE) < 0.6


def test_what_goes_wrong_with_one_image_is_a_line_and_the_watch_goes_on(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tifffile.imwrite(folder / "1 flat.tif", np.full((SIDE, SIDE), 3, np.uint8))
    (folder / "2 broken.tif").write_bytes(b"II*\0" + bytes(9))
    tifffile.imwrite(folder / "3 seven.tif", np.zeros((SIDE, SIDE, 7), np.uint8), photometric="minisblack")
    assert cv2.imwrite(str(folder / "4 colour.png"), np.stack([tifffile.imread(two[0])] * 3, axis=-1))
    tifffile.imwrite(folder / "5 other.tif", grey(cells(9, SIDE)))

    told = watched(folder, two[0], monkeypatch, [], once=True)

    by_name = {a.line["file"][0]: a.outcome for a in told if a.line}
    assert by_name == {
        "1": "not registered", "2": "not registered", "3": "not registered", "4": "matched", "5": "not matched",
    }  # fmt: skip
    assert all("\n" not in a.said for a in told)


def test_an_image_that_was_written_anew_is_registered_anew_and_others_are_not(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.tif").write_bytes(b"II*\0" + bytes(9))
    shutil.copy(two[1], folder / "b.tif")
    first = watched(folder, two[0], monkeypatch, [], once=True)
    shutil.copy(two[1], folder / "a.tif")

    again = watched(folder, two[0], monkeypatch, [], once=True)

    assert sorted(a.outcome for a in first) == ["", "matched", "not registered"]
    assert [(a.outcome, a.line["file"]) for a in again[1:]] == [("matched", "a.tif")]


def test_a_folder_and_an_image_that_vanish_are_waited_for(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    shutil.copy(two[1], folder / "gone.tif")
    real = register_watch.FixedImage.register

    def vanishing(self: register_watch.FixedImage, path: Path) -> object:
        if path.name == "gone.tif":
            path.unlink()
        return real(self, path)

    monkeypatch.setattr(register_watch.FixedImage, "register", vanishing)
    nothing: Callable[[], object] = lambda: None  # noqa: E731
    steps = [
        nothing, nothing, nothing,
        lambda: folder.rename(away),
        nothing,
        lambda: away.rename(folder),
        lambda: shutil.copy(two[1], folder / "later.tif"),
    ]  # fmt: skip

    told = [a.said for a in watched(folder, two[0], monkeypatch, steps)]

    assert "gone.tif: vanished before it was read" in told[1]
    assert "is gone" in told[2]
    assert "waiting for it" in told[2]
    assert told[3].endswith("is back")
    assert told[4].startswith("later.tif: turn -1")
    assert len(told) == 5


def test_lines_that_cannot_be_written_now_are_written_later(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "t.jsonl"
    folder.mkdir()
    shutil.copy(two[1], folder / "a.tif")
    shutil.copy(two[1], folder / "b.tif")
    real, refused = register_watch.append_line, []

    def once_full(path: Path, line: dict) -> None:
        if not refused:
            refused.append(line)
            raise OSError(28, "No space left on device")
        real(path, line)

    monkeypatch.setattr(register_watch, "append_line", once_full)

    told = watched(folder, two[0], monkeypatch, [], once=True, append=out)

    assert "No space left on device): 1 line(s) wait" in told[1].said
    assert "wait" not in told[2].said
    assert len(out.read_text().splitlines()) == 2


def test_other_contrast_is_what_the_pair_is_about() -> None:
    image = cells(3, 64)
    assert np.corrcoef(image.ravel(), xray(image).astype(float).ravel())[0, 1] < -0.8
