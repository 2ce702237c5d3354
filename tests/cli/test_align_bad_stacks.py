# ruff: noqa: F811 - fixtures come by name
"""``demis-ij align`` on stacks with something wrong: one line and exit code 2, or a flag and everything else done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from cli_words import Said, bytes_of, demis  # noqa: F401 - a fixture

SIDE = 96
Sections = list[np.ndarray]


@pytest.fixture(scope="module")
def tissue() -> Sections:
    """Return five sections of one texture, a few pixels apart."""
    noise = np.random.default_rng(3).normal(0, 1, (SIDE + 8, SIDE + 8)).astype(np.float32)
    grey = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return [grey[dy : dy + SIDE, dx : dx + SIDE].copy() for dx, dy in [(4, 4), (5, 3), (3, 5), (6, 4), (4, 3)]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write images as a folder of numbered TIFFs; None leaves a number out."""

    def write(images: list[Any], name: str = "stack") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for i, image in enumerate(images):
            if image is not None:
                tifffile.imwrite(folder / f"s_{i:02}.tif", image)
        return folder

    return write


@pytest.fixture
def align(demis, tmp_path: Path) -> Callable[..., Said]:
    """Call ``align`` without a volume."""
    return lambda stack, *words: demis("align", stack, "--out", tmp_path / "run", "--quiet", "--volume", "none", *words)


def refused(said: Said, *parts: str) -> bool:
    """Whether a command ended with 2 and one line that holds all parts."""
    assert (said.code, len(said.lines)) == (2, 1), said.err
    return all(part in said.err for part in parts)


def test_one_section_is_refused(align, write, tissue) -> None:
    assert refused(align(write(tissue[:1])), "one section was found, two at least were needed")


@pytest.mark.parametrize(("value", "said"), [(0, "every pixel is 0"), (255, "every pixel is 255")])
def test_empty_sections_are_refused_and_leave_nothing(
    align, write, tissue, tmp_path: Path, value: int, said: str
) -> None:
    stack = write([np.full_like(s, value) for s in tissue])

    assert refused(align(stack), "0 of 5 sections can be compared", said)
    assert not (tmp_path / "run").exists()


def test_sections_of_nothing_but_nan_are_refused(align, write, tissue) -> None:
    stack = write([np.full(s.shape, np.nan, np.float32) for s in tissue])

    assert refused(align(stack), "0 of 5 sections can be compared", "0% of its pixels are data")


def test_nan_is_no_data_and_a_section_of_it_is_bridged(align, write, tissue, tmp_path: Path) -> None:
    images = [s.astype(np.float32) for s in tissue]
    images[1][:30, :30] = np.nan
    images[3][:] = np.nan

    said = align(write(images), "--json")

    assert said.code == 0, said.err
    assert said.json["bridged"] == ["s_03.tif"]
    with np.load(tmp_path / "run" / "warps.npz") as held:
        assert np.isfinite(held["offsets"]).all()


def test_equal_sections_stay_where_they_are_and_are_named(align, write, tissue, tmp_path: Path) -> None:
    said = align(write([tissue[0]] * 4), "--json")

    assert said.code == 0, said.err
    copies = [f"section s_0{i}.tif: the same picture as section s_00.tif" for i in (1, 2, 3)]
    assert said.json["warnings"] == copies
    with np.load(tmp_path / "run" / "warps.npz") as held:
        assert np.abs(held["offsets"]).max() < 0.02  # px
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


def test_a_copy_of_a_section_is_named_and_the_rest_is_aligned(align, write, tissue) -> None:
    nearly = tissue[3].copy()
    nearly[5, 5] ^= 1

    said = align(write([*tissue, tissue[3], nearly]), "--json")

    copies = [line for line in said.json["warnings"] if "the same picture" in line]
    assert copies == ["section s_05.tif: the same picture as section s_03.tif"]


def test_sections_of_another_size_and_type_are_aligned_and_named(align, write, tissue) -> None:
    smaller = [*tissue[:2], tissue[2][:80, :90], *tissue[3:]]
    deeper = [*tissue[:2], tissue[2].astype(np.uint16) * 200, *tissue[3:]]

    for images, name, named in ((smaller, "sizes", "96x96, 90x80 px"), (deeper, "types", "s_02.tif, uint16")):
        said = align(write(images, name), "--dry-run")
        assert said.code == 0
        assert any(named in line for line in said.warnings), said.err


def test_a_lost_section_leaves_a_gap_and_the_rest_is_aligned(align, write, tissue, tmp_path: Path) -> None:
    said = align(write([*tissue[:2], None, *tissue[3:]]))

    assert said.code == 0
    assert any("missing, by the numbers of the others: 2" in line for line in said.warnings)
    assert json.loads((tmp_path / "run" / "align.json").read_text())["missing"] == [2.0]


def test_a_mask_of_another_shape_is_refused(align, write, tissue) -> None:
    masks = write([np.full((10, 10), 255, np.uint8)] * 5, "masks")

    assert refused(align(write(tissue), "--masks", masks), "s_00.tif is 10x10 px, the section 96x96")


def test_weights_of_another_network_and_of_none_are_refused(align, write, tissue, tmp_path: Path) -> None:
    from demis_ij.nets import weights

    text = tmp_path / "weights.pt"
    text.write_text("hello")
    stack, loftr = write(tissue), Path(weights.__file__).parents[1] / "weights" / "loftr_em.safetensors"

    for path, part in ((loftr, "weights of another network"), (text, "no whole file of a checkpoint of PyTorch")):
        assert refused(align(stack, "--method", "ssemnet", "--set", f"ssemnet.weights={path}"), path.name, part)


@pytest.mark.parametrize(("spacing", "said"), [("0.5", "finer than the image"), ("300", "do not resolve sections")])
def test_a_vector_map_that_does_not_suit_the_section_is_refused(align, write, tissue, spacing: str, said: str) -> None:
    assert refused(align(write(tissue), "--method", "ssemnet", "--set", f"ssemnet.spacing_px={spacing}"), said)


def test_labels_and_channels_that_do_not_fit_are_refused_before_anything_is_done(
    align, write, tissue, tmp_path
) -> None:
    stack = write(tissue)
    small = write([s[:50] for s in tissue], "small")
    halves = write([s / np.float32(2) for s in tissue], "halves")
    (tmp_path / "b").mkdir()
    twice = write(tissue, "b/small")

    assert refused(align(stack, "--labels", small), "labels: section s_00.tif is 96x50 px", "of the stack 96x96 px")
    assert refused(align(stack, "--channel", small), "channel small: section s_00.tif is 96x50 px")
    assert refused(align(stack, "--labels", halves), "is float32; labels are whole numbers")
    assert refused(align(stack, "--channel", small, "--channel", twice), "two channels would be written as 'small'")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_draws_only_what_is_new_or_has_changed(demis, write, tissue, tmp_path: Path) -> None:
    stack, out = write(tissue), tmp_path / "run"
    labels = write([np.full_like(s, i + 1) for i, s in enumerate(tissue)], "labels")
    words = ("align", stack, "--out", out, "--volume", "tiff", "--labels", labels, "--json")
    assert demis(*words).code == 0
    before = bytes_of(out)
    times = {name: (out / name).stat().st_mtime_ns for name in ("volume.tif", "labels.tif", "report.html")}

    said = demis(*words)
    assert said.json["resumed"] is True
    assert "drawn" not in said.err
    assert bytes_of(out) == before
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times

    tifffile.imwrite(labels / "s_00.tif", np.full_like(tissue[0], 9))
    assert demis(*words).code == 0
    assert (out / "volume.tif").stat().st_mtime_ns == times["volume.tif"]
    assert tifffile.imread(out / "labels.tif")[0, SIDE // 2, SIDE // 2] == 9

    (out / "volume.tif").unlink()
    (out / ".scratch").mkdir()  # as a killed run leaves it
    assert demis(*words).code == 0
    assert bytes_of(out)["volume.tif"] == before["volume.tif"]
    assert not (out / ".scratch").exists()
