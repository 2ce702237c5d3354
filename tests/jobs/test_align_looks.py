"""What a notebook shows of an aligned stack."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from demis_ij import jobs
from demis_ij.align import AlignResult, align
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import InputError
from demis_ij.formats.stacks import read_stack
from demis_ij.jobs.align import looks
from demis_ij.records import Affine, Field, Stack, Warp

SIDE = 96


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Return five sections of one texture, a few pixels apart; one has a name that is markup."""
    folder = tmp_path_factory.mktemp("sections")
    noise = np.random.default_rng(3).normal(0, 1, (SIDE + 8, SIDE + 8)).astype(np.float32)
    grey = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    for i, (dx, dy) in enumerate([(4, 4), (6, 3), (3, 6), (6, 5), (4, 3)]):
        name = f"s_{i}.tif" if i != 1 else "s_1&amp.tif"
        tifffile.imwrite(folder / name, grey[dy : dy + SIDE, dx : dx + SIDE])
    return read_stack(folder)


@pytest.fixture(scope="module")
def result(stack: Stack) -> AlignResult:
    return align(stack, AlignConfig(method="chain:affine"))


def test_a_result_shows_the_verdict_of_every_section(result: AlignResult) -> None:
    html = result._repr_html_()

    assert html.count("<tr") == 1 + len(result.sections) + html.partition("<thead")[0].count("<tr")
    assert "s_1&amp;amp.tif" in html
    assert "chain:affine" in html
    assert "nan" not in html


def test_warps_and_fields_say_what_they_do() -> None:
    bend = Field(np.full((2, 3, 3), 3.0, np.float32), 8)
    turn = Affine.similarity(1.0, 0.1, 5, 0)

    told = Warp((bend, turn), (20, 30), (4, 5))._repr_html_()
    assert "30 x 20 px, its pixel (0, 0) at 4, 5" in told
    assert told.index("bent: median 4.24 px") < told.index("turned by 5.730°")
    assert "nothing: the image stays" in Warp.identity((4, 4))._repr_html_()
    unknown = bend.offsets.copy()
    unknown[:, 0] = np.nan
    assert "unknown" in Field(unknown, 8)._repr_html_()
    assert "displacement" not in Field(np.full((2, 2, 2), np.nan), 8)._repr_html_()


def test_cuts_stand_beside_each_other_and_are_smoother_aligned(stack: Stack, result: AlignResult) -> None:
    pixels = jobs.look_at_cuts(stack, result, width_px=SIDE).pixels

    thick = looks.LEAST_ROWS_PX // 5
    assert pixels.shape == (2 * 5 * thick + 12, 2 * SIDE + 16, 3)
    xz = pixels[: 5 * thick : thick, :, 0].astype(float)
    given, aligned = xz[:, 10 : SIDE - 10], xz[:, SIDE + 26 : -10]
    assert np.abs(np.diff(aligned, axis=0)).mean() < 0.5 * np.abs(np.diff(given, axis=0)).mean()


def test_a_section_over_its_neighbour_is_grey_where_they_agree(stack: Stack, result: AlignResult) -> None:
    pixels = jobs.look_at_section(stack, result, 1, neighbour=0).pixels.astype(int)

    colour = np.abs(pixels[..., 0] - pixels[..., 1])
    given, aligned = colour[10:-10, 10 : SIDE - 10], colour[10:-10, SIDE + 26 : -10]
    assert aligned.mean() < 0.4 * given.mean()
    assert (pixels[..., 1] == pixels[..., 2]).all()


def test_a_warp_is_drawn_on_the_scale_that_is_asked_for(result: AlignResult) -> None:
    bend = np.zeros((2, 13, 13), np.float32)
    bend[0] = np.linspace(0, 10, 13)
    bent = AlignResult((Warp((Field(bend, 8),), (SIDE, SIDE)),), result.sections[:1], (), result.config)

    left, middle, right = (jobs.look_at_warp(bent, 0, most_px=10, side_px=65).pixels[30, x] for x in (2, 32, 62))
    assert len({tuple(c) for c in (left, middle, right)}) == 3
    far = jobs.look_at_warp(bent, 0, most_px=1000, side_px=65).pixels
    assert np.abs(far[30, 62].astype(int) - far[30, 2]).max() < 10
    area = jobs.look_at_warp(bent, 0, side_px=65).pixels[30, 120]
    assert area[0] > area[2]  # orange: more input than output
    still = AlignResult((Warp.identity((SIDE, 2 * SIDE)),), result.sections[:1], (), result.config)
    assert jobs.look_at_warp(still, 0, side_px=64).pixels.shape == (32, 64 + 16 + 64, 3)


def test_a_section_that_is_none_is_refused(stack: Stack, result: AlignResult) -> None:
    with pytest.raises(InputError, match="no section 5: the stack has 5"):
        jobs.look_at_section(stack, result, 5)
    with pytest.raises(InputError, match="no section -1"):
        jobs.look_at_warp(result, -1)


def test_a_job_shows_its_files_and_what_to_beware_of(stack: Stack, tmp_path: Path) -> None:
    job = jobs.AlignJob(config=AlignConfig(method="chain:affine"), volumes=("tiff",))

    html = jobs.run_align(stack, tmp_path / "run", job)._repr_html_()

    for part in ("volume.tif", "report.html", "correlation of neighbours", "chain:affine"):
        assert part in html
