"""Laws of the whole: known bends are undone, what is well stays, one section does not spoil others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from made_up_stacks import SIDE, bend, disagreement, seen_through, tissue

from demis_ij.align import AlignResult, Memory, align
from demis_ij.config.aligning import AlignConfig
from demis_ij.errors import InputError
from demis_ij.fields import at_nodes
from demis_ij.records import Affine, Warp

QUICK = AlignConfig(threads=2, stride_px=4)


def lengths(result: AlignResult, index: int) -> np.ndarray:
    """How far a section's pixels are moved in the world, px."""
    warp = result.warps[index]
    offsets = at_nodes(warp, warp.shape, 8).offsets
    return np.hypot(*(offsets - np.array(warp.origin_xy)[:, None, None]))


@pytest.fixture(scope="module")
def bent() -> tuple[list, list, list]:
    fields = [bend(k) for k in range(8)]
    shown = [seen_through(image, f) for image, f in zip(tissue(8), fields, strict=True)]
    return [s for s, _ in shown], [m for _, m in shown], fields


@pytest.fixture(scope="module")
def solved(bent) -> AlignResult:
    images, masks, _ = bent
    return align(images, QUICK, masks=masks)


def test_known_bends_are_undone_to_a_fraction(bent, solved) -> None:
    _, _, fields = bent
    before = disagreement([Warp.identity((SIDE, SIDE))] * 8, fields)

    after = disagreement(solved.warps, fields)

    assert before.mean() > 4  # px: there was something to do
    assert after.mean() < 0.2 * before.mean()


def test_nothing_folds(solved) -> None:
    assert all(s.min_jacobian > QUICK.min_jacobian for s in solved.sections)


def test_correlation_and_residual_are_told_before_and_after(solved) -> None:
    for section in solved.sections:
        assert section.ncc_after > section.ncc_before
        assert section.residual_after_px < section.residual_before_px


def test_the_order_reversed_gives_the_mirrored_answer(bent, solved) -> None:
    images, masks, _ = bent

    mirrored = align(images[::-1], QUICK, masks=masks[::-1])

    apart = np.abs(mirrored.offsets()[::-1] - solved.offsets())
    assert np.percentile(apart, 95) < 0.3  # px: the flow there is not the exact inverse of the flow back


def test_equal_sections_stay_where_they_are() -> None:
    result = align([tissue(1)[0]] * 4, QUICK)

    assert max(lengths(result, i).max() for i in range(4)) < 0.01


def test_a_stack_without_deformation_is_hardly_touched() -> None:
    result = align(list(tissue(8)), QUICK)

    assert np.median([np.median(lengths(result, i)) for i in range(8)]) < 0.5


def test_a_shift_common_to_all_sections_changes_nothing(bent, solved) -> None:
    images, masks, _ = bent
    shifted = [np.roll(i, (16, 16), (0, 1)) for i in images]  # whole cells of the nodes and of the coarsest level
    their_masks = [np.roll(m, (16, 16), (0, 1)) for m in masks]
    for mask in their_masks:
        mask[:16], mask[:, :16] = False, False

    result = align(shifted, QUICK, masks=their_masks)

    cells = round(16 / QUICK.stride_px)
    here, there = solved.offsets()[:, :, 4:-8, 4:-8], result.offsets()[:, :, 4 + cells :, 4 + cells :]
    assert np.median(np.abs(here - there[:, :, : here.shape[2], : here.shape[3]])) < 0.3  # px


@pytest.fixture(scope="module")
def with_noise(bent, solved) -> tuple[AlignResult, np.ndarray, np.ndarray]:
    """Noise for section 4: the result, and how far the neighbours among the others are apart, with it and without."""
    images, masks, fields = bent
    noise = np.random.default_rng(5).uniform(0, 255, images[0].shape).astype(np.float32)
    result = align([noise if k == 4 else i for k, i in enumerate(images)], replace(QUICK, coarse="none"), masks=masks)
    good = [k for k in range(8) if k != 4]
    after, without = (
        disagreement([w[k] for k in good], [fields[k] for k in good]) for w in (result.warps, solved.warps)
    )
    return result, after, without


def test_a_bad_section_is_told_and_moves_no_section_that_has_another_neighbour(with_noise) -> None:
    result, after, without = with_noise
    assert np.delete(after, 3).max() < np.delete(without, 3).max() + 0.1  # px; pair 3 lies across the bad section
    assert after.mean() < without.mean() + 1  # px, of six that the sections were apart
    assert any("section 4: hardly like its neighbours" in line for line in result.warnings)


def test_one_bad_section_does_not_move_its_neighbours(with_noise) -> None:
    _, after, without = with_noise
    assert after.mean() < without.mean() + 0.5


def test_a_hole_has_no_say(bent) -> None:
    images, masks, fields = bent
    spoiled, holes = [i.copy() for i in images], [m.copy() for m in masks]
    spoiled[3][:, :50], holes[3][:, :50] = 255, False

    result = align(spoiled, QUICK, masks=holes)

    assert disagreement(result.warps, fields, margin=56).mean() < 1.2


def test_a_missing_section_is_bridged_and_said(bent) -> None:
    images, masks, fields = bent
    empty = [np.zeros_like(m) if k == 3 else m for k, m in enumerate(masks)]

    result = align(images, QUICK, masks=empty)

    assert not result.sections[3].usable
    assert "mostly empty" in result.sections[3].flags[0]
    between = (result.offsets()[2] + result.offsets()[4]) / 2
    np.testing.assert_allclose(result.offsets()[3], between, atol=1e-4)
    good = [k for k in range(8) if k != 3]
    assert disagreement([result.warps[k] for k in good], [fields[k] for k in good]).max() < 1  # px; across it, too


def test_blocks_and_the_whole_agree_to_a_tenth_of_a_pixel() -> None:
    side, still = 224, replace(QUICK, coarse="none")
    shown = [seen_through(i, bend(k, sd=5, side=side)) for k, i in enumerate(tissue(5, side))]
    images, masks = [s for s, _ in shown], [m for _, m in shown]

    whole = align(images, still, masks=masks)
    blocks = align(images, replace(still, block_px=100), masks=masks)

    apart = np.abs(whole.offsets() - blocks.offsets())[:, :, 6:-6, 6:-6]
    assert apart.max() > 0  # they were not one block
    assert np.percentile(apart, 98) < 0.1  # px


def test_a_middle_section_that_nothing_else_can_judge_is_judged_by_its_neighbours() -> None:
    shown = [seen_through(i, bend(k)) for k, i in enumerate(tissue(3))]

    result = align([s for s, _ in shown], QUICK, masks=[m for _, m in shown])

    assert not any(s.no_better for s in result.sections)


def test_a_section_turned_by_thirty_degrees_and_one_shifted_by_half_its_width_come_back() -> None:
    images = tissue(6, change=0.15)
    moves: list[Affine] = [Affine()] * 6
    middle = (SIDE - 1) / 2
    moves[2] = Affine.about(Affine.rigid(np.radians(30)), (middle, middle))
    moves[4] = Affine.translation(SIDE / 2, 0)
    shown = [seen_through(i, m) for i, m in zip(images, moves, strict=True)]

    result = align([s for s, _ in shown], QUICK, masks=[m for _, m in shown])

    assert [s.moved_coarsely for s in result.sections] == [False, False, True, False, True, False]
    assert abs(abs(result.sections[2].turn_deg) - 30) < 1
    at = np.array([[90.0, 60], [100, 100], [110, 80]])
    for warp, move in zip(result.warps, moves, strict=True):
        assert np.linalg.norm(move(warp(at - np.array(warp.origin_xy))) - at, axis=1).max() < 3


def test_an_interrupted_alignment_goes_on_and_ends_the_same(bent, solved) -> None:
    images, masks, _ = bent
    memory = Memory()

    def stop(what: str, done: int, total: int) -> None:
        if what == "pairs compared" and done > 0.5 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(images, QUICK, masks=masks, memory=memory, progress=stop)
    asked: list[str] = []
    result = align(images, QUICK, masks=masks, memory=memory, progress=lambda what, *_: asked.append(what))

    assert "turns and shifts" not in asked
    assert len(result.rounds) == len(solved.rounds)
    np.testing.assert_allclose(result.offsets(), solved.offsets(), atol=1e-4)


def test_sections_in_files_give_the_same_as_in_memory(bent, solved, tmp_path) -> None:
    images, masks, _ = bent

    result = align(images, QUICK, masks=masks, memory_bytes=0, scratch=tmp_path)

    np.testing.assert_array_equal(result.offsets(), solved.offsets())
    assert not list(tmp_path.iterdir())


def test_nan_is_no_data(bent) -> None:
    images, masks, _ = bent
    holes = [np.where(m, i, np.nan) for i, m in zip(images, masks, strict=True)]

    result = align(holes, QUICK)

    assert np.isfinite(result.offsets()).all()


def test_one_section_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match=r"one section.*two are needed"):
        align([tissue(1)[0]], QUICK)


def test_a_stack_of_nothing_but_empty_images_is_refused() -> None:
    with pytest.raises(InputError, match=r"0 of 3 sections can be compared, 2 are needed.*blank"):
        align([np.zeros((64, 64), np.uint8)] * 3, QUICK)


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="mask of its own size"):
        align(list(tissue(2)), QUICK, masks=[np.ones((10, 10), bool)] * 2)


def test_nodes_that_do_not_resolve_a_section_are_refused() -> None:
    with pytest.raises(InputError, match="stride_px: nodes 100 px apart do not resolve sections of 160x160 px"):
        align(list(tissue(2)), AlignConfig(stride_px=100))


def test_an_unknown_aligner_of_a_chain_is_refused() -> None:
    with pytest.raises(InputError, match="nothing_like_it"):
        align(list(tissue(2)), AlignConfig(method="chain:nothing_like_it"))


def test_a_chain_of_flow_brings_sections_nearer(bent) -> None:
    images, masks, fields = bent

    result = align(images[:3], AlignConfig(method="chain:flow"), masks=masks[:3])

    before = disagreement([Warp.identity((SIDE, SIDE))] * 3, fields[:3])
    assert disagreement(result.warps, fields[:3]).mean() < 0.5 * before.mean()
    assert not result.rounds
