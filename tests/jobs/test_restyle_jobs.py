"""Restyling files: what is written where, what is left out of a folder, and what is refused beforehand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
import torch
import zarr

from demis_ij.errors import InputError
from demis_ij.jobs.styles.applying import run_restyle
from demis_ij.nets.style import Form, Generator
from demis_ij.nets.style_weights import save_style

SIDE = 80


def weights_in(folder, **form):
    torch.manual_seed(0)
    path = folder / "style.safetensors"
    save_style(path, Generator(Form(widths=(4, 6), **form)).eval(), "light", "electrons", {})
    return str(path)


@pytest.fixture
def weights(tmp_path):
    return weights_in(tmp_path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def write(path, seed=0, side=SIDE):
    grey = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8), (0, 0), 1.5)
    assert cv2.imwrite(str(path), grey)
    return path


def test_what_cannot_be_restyled_is_left_out_of_a_folder_and_told(weights, folder, tmp_path):
    write(folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    write(folder / "c.tif", side=20)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "more.tif").mkdir()
    write(folder / "z.png", 1)
    told = run_restyle(folder, weights, tmp_path / "out", device="cpu")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "z.png"]
    assert len(told["images"]) == 2
    assert [one["image"].rpartition("/")[2] for one in told["left_out"]] == ["b.png", "c.tif", "gone.png"]
    for one, words in zip(told["left_out"], ("b.png: not an image", "c.tif: style", "no such image"), strict=True):
        assert words in one["reason"]


def test_a_folder_of_which_nothing_can_be_restyled_is_refused(weights, folder, tmp_path):
    write(folder / "a.png", side=20)
    with pytest.raises(InputError, match=r"none of the 1 images.*a\.png: style .* px at once"):
        run_restyle(folder, weights, tmp_path / "out", device="cpu")
    assert not (tmp_path / "out").exists()


def test_images_that_would_replace_each_other_are_refused_before_anything_is_written(weights, folder, tmp_path):
    write(folder / "a.png")
    write(folder / "a.tif", 1)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"a\.png and a\.tif .* would both be written"):
            run_restyle(folder, weights, tmp_path / "out", overwrite=overwrite, device="cpu")
    assert not (tmp_path / "out").exists()


def test_images_are_never_replaced_by_what_is_made_of_them(weights, folder):
    image = write(folder / "a.png")
    before = image.read_bytes()
    for given, out in ((image, image), (folder, folder), (folder, folder / ".." / "images")):
        with pytest.raises(InputError, match="would be replaced"):
            run_restyle(given, weights, out, overwrite=True, device="cpu")
    assert image.read_bytes() == before


def test_a_folder_and_a_file_are_not_taken_for_each_other(weights, folder, tmp_path):
    image = write(folder / "a.png")
    with pytest.raises(InputError, match="needed the name of a PNG or TIFF"):
        run_restyle(image, weights, folder, device="cpu")
    with pytest.raises(InputError, match="for a folder of images, a folder"):
        run_restyle(folder, weights, image, device="cpu")


def test_a_folder_that_is_not_there_is_told_as_such(weights, tmp_path):
    with pytest.raises(InputError, match="no such image or folder"):
        run_restyle(tmp_path / "nothing", weights, tmp_path / "out", device="cpu")


def test_an_image_without_data_is_refused(weights, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((SIDE, SIDE), np.nan, np.float32))
    with pytest.raises(InputError, match=r"a\.tif holds no data"):
        run_restyle(tmp_path / "a.tif", weights, tmp_path / "out.png", device="cpu")
    assert not (tmp_path / "out.png").exists()


def test_an_ome_zarr_is_one_image(weights, tmp_path):
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w", zarr_format=2)
    grey = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    group.create_array("0", data=grey)
    axes = [{"name": name, "type": "space"} for name in "yx"]
    scale = {"type": "scale", "scale": [1.0, 1.0]}
    levels = [{"path": "0", "coordinateTransformations": [scale]}]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": levels}]
    run_restyle(tmp_path / "x.zarr", weights, tmp_path / "out.png", device="cpu")
    assert cv2.imread(str(tmp_path / "out.png"), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE)


def test_what_no_image_file_holds_is_refused_before_it_is_made(folder, tmp_path):
    image = write(folder / "a.png")
    with pytest.raises(InputError, match="leads to 2 channels"):
        run_restyle(image, weights_in(tmp_path, target_channels=2), tmp_path / "out.tif", device="cpu")


@pytest.mark.parametrize(("asked", "words"), [({"threads": -1}, "threads: -1"), ({"device": "gpu"}, "device: 'gpu'")])
def test_a_machine_that_there_cannot_be_is_refused_in_one_line(asked, words, weights, folder, tmp_path):
    with pytest.raises(InputError, match=words):
        run_restyle(write(folder / "a.png"), weights, tmp_path / "out.png", **asked)
