"""Ways to align, measured on stacks whose truth is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from demis_ij.errors import FormatError, InputError
from demis_ij.evaluate import align as evaluation
from demis_ij.evaluate.align import (
    StackSource,
    compared,
    evaluate_stacks,
    measured,
    read_method,
    stack_rows,
    stack_sources,
)
from demis_ij.evaluate.kept import Kept
from demis_ij.fields import at_nodes
from demis_ij.records import Affine, Field, Warp
from demis_ij.synth.stack import CASES, ArrayVolume, Case, in_memory, made_up

SIDE = 128


@pytest.fixture(scope="module")
def volume():
    made = made_up(SIDE, 5, 3)
    return ArrayVolume(*zip(*(made[k] for k in range(5)), strict=True))


@pytest.fixture(scope="module")
def moderate(volume):
    return in_memory("moderate", volume, CASES["moderate"], 1)


def source(stack, fingerprint="1"):
    return StackSource(stack.name, fingerprint, lambda: stack)


def still(stack):
    return [Warp.identity(stack.shape)] * len(stack)


def test_the_true_warps_leave_no_residual_and_no_drift_and_score_one(moderate):
    before, true = measured(moderate, still(moderate)), measured(moderate, moderate.true.warps)
    found = compared(true, {**before, "dice_undeformed": 0.0}, true)

    assert true["residual_px"] < 0.05  # px: the inverse at nodes 1 px apart
    assert before["residual_px"] > 1
    assert true["drift_dice"] > before["drift_dice"] + 0.05
    assert true["dice"] > before["dice"]
    assert found["dice_score"] == 1
    assert true["folded_frac"] == 0


def test_where_the_volume_lies_as_a_whole_does_not_matter(moderate):
    placing = Affine.about(Affine.rigid(0.3, 20, -15), (64, 64))
    shape, origin = (220, 240), (-50.0, -40.0)
    moved = [Warp((Affine.translation(*origin), placing.inverse, *w.parts), shape, origin) for w in moderate.true.warps]

    there, here = measured(moderate, moved), measured(moderate, moderate.true.warps)

    assert there["residual_px"] == pytest.approx(here["residual_px"], abs=0.05)  # px
    assert there["drift_dice"] == pytest.approx(here["drift_dice"], abs=0.02)  # nearest neighbours on a turned grid
    assert there["dice"] == pytest.approx(here["dice"], abs=0.02)


def test_one_section_that_is_off_shows_in_residual_and_drift(moderate):
    warps = list(moderate.true.warps)
    warps[2] = Warp((Affine.translation(6, 0), *warps[2].parts), moderate.shape)

    off, right = measured(moderate, warps), measured(moderate, moderate.true.warps)

    assert off["residual_95_px"] == pytest.approx(6, abs=0.3)  # px: two of four pairs
    assert off["dice"] < right["dice"] - 0.02
    assert off["drift_dice"] < right["drift_dice"] - 0.01


def test_folds_are_found(moderate):
    offsets = at_nodes(Affine(), moderate.shape, 8).offsets.copy()
    offsets[0, :, 8:] -= 24  # px: the right half lies over the left

    found = measured(moderate, [Warp((Field(offsets, 8),), moderate.shape)] * len(moderate))

    assert found["folded_frac"] > 0


def test_every_method_gains_where_neighbours_show_the_same(volume):
    stack = in_memory("same", volume, CASES["same"], 1)

    scores = evaluate_stacks([source(stack)], [read_method("joint"), read_method("chain:flow,anchor=2")])

    assert all(s.measures["dice"] > s.measures["dice_before"] for s in scores)
    assert all(s.measures["residual_px"] < s.measures["residual_px_before"] for s in scores)


def test_a_method_gains_and_what_was_measured_is_not_measured_again(moderate, tmp_path, monkeypatch):
    methods = [read_method("joint"), read_method("chain:flow,anchor=2")]
    one = evaluate_stacks([source(moderate)], methods, kept=Kept(tmp_path))

    assert [s.configuration for s in one] == ["joint", "chain:flow,anchor=2"]
    joint, chain = (s.measures for s in one)
    assert joint["dice"] > joint["dice_before"]
    assert joint["dice"] > chain["dice"]  # five small sections: what a chain gains hangs on rounding
    assert all(s.measures["folded_frac"] == 0 and s.wall_s > 0 for s in one)

    def never(*_args, **_settings):
        raise AssertionError

    monkeypatch.setattr(evaluation, "align", never)
    assert evaluate_stacks([source(moderate)], methods, kept=Kept(tmp_path)) == one
    with pytest.raises(AssertionError):
        evaluate_stacks([source(moderate, "another stack")], methods, kept=Kept(tmp_path))


def test_a_stack_that_cannot_be_aligned_is_a_row_with_the_reason(moderate):
    blank = replace(moderate, images=[np.full(moderate.shape, 128, np.uint8)] * len(moderate))

    (score,) = evaluate_stacks([source(blank)], [read_method("joint")])
    (row,) = stack_rows([score])

    assert "blank" in score.problem
    assert row.values["failed_stacks"] == 1
    assert "dice" not in row.values


def test_undeformed_stacks_have_no_score(volume):
    stack = in_memory("none", volume, CASES["none"], 1)

    (score,) = evaluate_stacks([source(stack)], [read_method("joint")])

    assert score.measures["dice_score"] is None
    assert score.measures["dice_before"] == pytest.approx(score.measures["dice_true"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jiont", "did you mean 'joint'"),
        ("chain:flwo", "did you mean 'flow'"),
        ("joint,anchr=2", "anchor"),
        ("joint,anchor", "SETTING=VALUE"),
        ("joint,anchor=-1", "not between"),
        ("joint,steps=3", "steps"),
    ],
)
def test_methods_that_cannot_be_used_are_refused_with_a_hint(text, said):
    with pytest.raises(InputError, match=said):
        read_method(text)


def test_settings_of_the_paper_belong_to_its_method():
    found = read_method("ssemnet,steps=7", threads=2)

    assert found.ssemnet.steps == 7
    assert found.config.threads == 2


def test_folders_of_stacks_are_found_and_others_refused(tmp_path):
    with pytest.raises(FormatError, match="no stack with truth"):
        stack_sources([tmp_path])


def test_a_case_of_ones_own_is_measured_like_any_other(volume):
    stack = in_memory("own", volume, Case(sd_px=6, corner_frac=0.4, folded_frac=0.4), 5)

    found = measured(stack, stack.true.warps)

    assert 0.5 < found["shown_frac"] <= 1.01
    assert json.dumps(found)
