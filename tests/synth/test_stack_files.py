"""Misaligned stacks and labelled volumes on disk."""

import json

import cv2
import numpy as np
import pytest
import tifffile

from demis_ij.errors import FormatError, InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.synth.stack import (
    CASES,
    ArrayVolume,
    in_memory,
    made_up,
    read_true_stack,
    read_volume,
    write_stack,
)

SOURCE = {"generated": 1}


@pytest.fixture(scope="module")
def volume():
    made = made_up(64, 10, 3)
    return ArrayVolume(*zip(*(made[k] for k in range(10)), strict=True))


def test_a_stack_is_read_back_as_it_was_made(tmp_path, volume):
    assert write_stack(tmp_path / "s", volume, "gaps", CASES["gaps"], 5, source=SOURCE)
    made, read = in_memory("gaps", volume, CASES["gaps"], 5), read_true_stack(tmp_path / "s")

    assert (read.name, read.case, read.seed) == (made.name, made.case, 5)
    for part in ("images", "masks", "tissue", "labels", "original"):
        for a, b in zip(getattr(made, part), getattr(read, part), strict=True):
            np.testing.assert_array_equal(a, b)
    at = np.array([[10.0, 20.0], [40.0, 31.0]])
    for a, b in zip(made.deformation.warps, read.deformation.warps, strict=True):
        np.testing.assert_allclose(a(at), b(at), atol=1e-3)  # px: float32 offsets
    assert read.true.z == made.true.z


def test_the_images_are_a_stack_that_knows_its_gaps(tmp_path, volume):
    write_stack(tmp_path / "s", volume, "gaps", CASES["gaps"], 5, source=SOURCE)
    stack = read_stack(tmp_path / "s" / "images", masks=tmp_path / "s" / "masks")

    assert len(stack) == 8
    assert stack.z == read_true_stack(tmp_path / "s").true.z
    assert len(stack.missing) == 2 - sum(n in (0, 9) for n in set(range(10)) - set(stack.z))


def test_the_same_stack_is_kept_and_another_one_refused(tmp_path, volume):
    assert write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 5, source=SOURCE)
    before = (tmp_path / "s" / "truth.json").stat().st_mtime_ns

    assert not write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 5, source=SOURCE)
    assert (tmp_path / "s" / "truth.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="another stack"):
        write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 6, source=SOURCE)


def test_a_folder_with_something_else_is_left_alone(tmp_path, volume):
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(InputError, match="not empty"):
        write_stack(tmp_path, volume, "mild", CASES["mild"], 5, source=SOURCE)
    with pytest.raises(InputError, match="is a file"):
        write_stack(tmp_path / "mine.txt", volume, "mild", CASES["mild"], 5, source=SOURCE)


def test_an_interrupted_stack_is_not_whole_and_is_gone_on_with(tmp_path, volume):
    def stop(_what, done, _all):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 5, source=SOURCE, progress=stop)
    with pytest.raises(FormatError, match="interrupted"):
        read_true_stack(tmp_path / "s")
    assert write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 5, source=SOURCE)
    assert len(read_true_stack(tmp_path / "s")) == 10


def test_what_is_broken_is_named(tmp_path, volume):
    with pytest.raises(FormatError, match=r"no truth\.json"):
        read_true_stack(tmp_path)
    write_stack(tmp_path / "s", volume, "mild", CASES["mild"], 5, source=SOURCE)
    (tmp_path / "s" / "labels" / "section_0003.tif").unlink()
    with pytest.raises(FormatError, match="section_0003"):
        read_true_stack(tmp_path / "s")
    held = json.loads((tmp_path / "s" / "truth.json").read_text())
    (tmp_path / "s" / "truth.json").write_text(json.dumps({**held, "format_version": 99}))
    with pytest.raises(FormatError, match="version 99"):
        read_true_stack(tmp_path / "s")


def put(folder, volume, sections):
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for k in sections:
        image, label = volume[k]
        cv2.imwrite(str(folder / "images" / f"{k}.png"), np.clip(image, 0, 255).astype(np.uint8))
        tifffile.imwrite(folder / "labels" / f"{k}.tif", label.astype(np.uint32))


def test_a_labelled_volume_is_read_from_folders_tiff_and_npz(tmp_path, volume):
    put(tmp_path, volume, range(10))
    labels = np.stack([volume[k][1] for k in range(10)])
    pictures = np.stack([np.clip(volume[k][0], 0, 255).astype(np.uint8) for k in range(10)])
    tifffile.imwrite(tmp_path / "l.tif", labels.astype(np.uint32))
    np.savez(tmp_path / "v.npz", images=pictures, labels=labels)

    folders = read_volume(tmp_path / "images", tmp_path / "labels", every=3, start=1)
    paged = read_volume(tmp_path / "images", tmp_path / "l.tif", every=3, start=1)
    arrays = read_volume(tmp_path / "v.npz", every=3, start=1, count=3)

    assert len(folders) == len(paged) == len(arrays) == 3
    for k, number in enumerate((1, 4, 7)):
        for found in (folders, paged, arrays):
            np.testing.assert_array_equal(found[k][1], labels[number])
            np.testing.assert_array_equal(found[k][0], pictures[number])


def test_volumes_that_do_not_fit_are_refused(tmp_path, volume):
    put(tmp_path, volume, range(4))
    with pytest.raises(InputError, match="labels were needed"):
        read_volume(tmp_path / "images")
    with pytest.raises(InputError, match="1 section"):
        read_volume(tmp_path / "images", tmp_path / "labels", every=5)
    (tmp_path / "labels" / "3.tif").unlink()
    with pytest.raises(InputError, match="3 label image"):
        read_volume(tmp_path / "images", tmp_path / "labels")
    tifffile.imwrite(tmp_path / "labels" / "3.tif", np.zeros((60, 64), np.uint16))
    with pytest.raises(InputError, match="must have one size"):
        read_volume(tmp_path / "images", tmp_path / "labels")[3]
    tifffile.imwrite(tmp_path / "labels" / "3.tif", np.zeros((64, 64), np.float32))
    with pytest.raises(InputError, match="whole numbers"):
        read_volume(tmp_path / "images", tmp_path / "labels")[3]
    np.savez(tmp_path / "v.npz", images=np.zeros((3, 8, 8)))
    with pytest.raises(FormatError, match="labels missing"):
        read_volume(tmp_path / "v.npz")
    with pytest.raises(InputError, match="one size"):
        ArrayVolume([np.zeros((8, 8))], [np.zeros((8, 9), int)])
