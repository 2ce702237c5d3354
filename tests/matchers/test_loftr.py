"""LoFTR as a matcher, and its weights: what ships, checkpoints, downloads."""

from __future__ import annotations

import urllib.error

import numpy as np
import pytest
import torch

from demis_ij.errors import InputError, WeightsError
from demis_ij.geometry import apply, estimate
from demis_ij.matchers.loftr import LoftrMatcher, choose_device
from demis_ij.nets import weights
from demis_ij.nets.loftr import COMPACT, build, fold_batch_norm, infer_architecture
from demis_ij.protocols import View
from demis_ij.records import Affine
from demis_ij.testing import matcher_contract


@pytest.fixture(scope="module")
def matcher():
    return LoftrMatcher(device="cpu")


@pytest.mark.parametrize("check", matcher_contract.CHECKS, ids=lambda c: c.__name__)
def test_loftr_keeps_the_contract_of_matchers(check, matcher):
    check(matcher)


@pytest.mark.parametrize("resolution", [1.0, 0.5])
def test_points_are_not_biased_by_the_resolution(resolution):
    rng = np.random.default_rng(5)
    truth = Affine.translation(2.6, -1.8)  # near a cell's middle: towards its rim the fine stage falls short
    source = matcher_contract.tissue((760, 420), rng)
    fixed, moving = matcher_contract.two_views(source, truth, rng, shape=(600, 240))

    found = LoftrMatcher(device="cpu", resolution=resolution)(fixed, moving)

    shift = np.median(found.fixed_xy - found.moving_xy, axis=0)
    np.testing.assert_allclose(shift, [2.6, -1.8], atol=0.35)  # px: half a pixel would be a wrong frame


def test_resin_that_no_detector_sees_is_matched(matcher):
    rng = np.random.default_rng(11)
    truth = Affine.rigid(0.004, 9, 5)
    source = matcher_contract.resin((1250, 420), rng)
    fixed, moving = matcher_contract.two_views(source, truth, rng, shape=(1024, 230), noise_sd=5.0, contrast=6.0)

    found = matcher(fixed, moving)
    answer = estimate(found.moving_xy, found.fixed_xy, "rigid", 4.0)

    assert answer is not None
    assert answer.inlier.sum() >= 30
    at = np.array([[115.0, 100.0], [115.0, 900.0]])
    assert np.linalg.norm(apply(answer.to_fixed, at) - truth(at), axis=1).max() < 2.0  # px, before refinement


def test_views_of_unlike_size_and_thin_ones_are_matched(matcher):
    rng = np.random.default_rng(6)
    source = matcher_contract.tissue((520, 200), rng)
    truth = Affine.translation(3, 2)
    fixed, moving = matcher_contract.two_views(source, truth, rng, shape=(400, 41))
    cut = View(moving.image[:-37], moving.mask[:-37])

    found = matcher(fixed, cut)

    assert len(found) > 20
    np.testing.assert_allclose(np.median(found.fixed_xy - found.moving_xy, axis=0), [3, 2], atol=0.5)


def test_folding_batch_norms_changes_nothing():
    torch.manual_seed(0)
    net = build()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    image = torch.rand(2, 1, 64, 96)
    with torch.inference_mode():
        before = net.backbone(image)
        after = fold_batch_norm(net).backbone(image)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"'cuda' is not available here; available: .*cpu"):
        choose_device("cuda")


# --- weights --------------------------------------------------------------------------------------------------------


def test_the_weights_that_ship_fit_in_twenty_megabytes_and_have_a_card():
    path = weights.shipped()

    assert path.stat().st_size < 20e6
    assert path.with_suffix(".md").is_file()


def checkpoint(tmp_path, change=lambda state: state, name="model.ckpt"):
    """A checkpoint in the layout of LoFTR's and DEMIS's training code, of the widths that ship."""
    state = {f"matcher.{k}": v for k, v in build().state_dict().items()}
    path = tmp_path / name
    torch.save({"state_dict": change(state), "epoch": 3}, path)
    return path


def test_a_checkpoint_of_the_reference_layout_is_loaded_exactly(tmp_path):
    torch.manual_seed(3)
    path = checkpoint(tmp_path)
    wanted = torch.load(path, weights_only=True)["state_dict"]

    loaded = weights.load_loftr(str(path))

    assert loaded.half_pixel == 0.5  # the reference's pixel centres
    for key, value in loaded.net.state_dict().items():
        torch.testing.assert_close(value, wanted[f"matcher.{key}"])


def test_the_architecture_is_read_from_the_tensors():
    found = infer_architecture(build().state_dict())

    assert found.config["resnetfpn"] == COMPACT["resnetfpn"]
    assert found.config["coarse"]["layer_names"] == COMPACT["coarse"]["layer_names"]
    assert found.config["fine"]["d_model"] == COMPACT["fine"]["d_model"]


def without_one(state):
    state.pop("matcher.loftr_coarse.layers.1.merge.weight")
    return state


def with_one_more(state):
    return {**state, "matcher.head.weight": torch.zeros(3)}


def of_another_shape(state):
    return {**state, "matcher.loftr_fine.layers.0.norm1.weight": torch.zeros(5)}


@pytest.mark.parametrize("change", [without_one, with_one_more, of_another_shape], ids=lambda f: f.__name__)
def test_a_checkpoint_that_does_not_fit_exactly_is_refused(tmp_path, change):
    with pytest.raises(WeightsError, match=r"model\.ckpt"):
        weights.load_loftr(str(checkpoint(tmp_path, change)))


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
def test_a_damaged_file_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no weights at all" * 50)

    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        weights.load_loftr(str(path))


class Dangerous:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": Dangerous()}, path)

    with pytest.raises(WeightsError):
        weights.load_loftr(str(path))
    assert "code ran" not in capsys.readouterr().out


def test_a_name_that_is_no_file_is_answered_with_the_known_ones():
    with pytest.raises(WeightsError, match="shipped, outdoor, indoor_new"):
        weights.load_loftr("outdor")


def test_offline_the_manual_way_is_said(tmp_path, monkeypatch):
    def unreachable(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", unreachable)

    with pytest.raises(WeightsError, match=r"put it at .*loftr_outdoor\.ckpt"):
        weights.load_loftr("outdoor")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_download_with_a_wrong_checksum_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "loftr_outdoor.ckpt").write_bytes(b"half a file")

    with pytest.raises(WeightsError, match="SHA-256"):
        weights.load_loftr("outdoor")


def test_missing_weights_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "files", lambda _package: tmp_path)

    with pytest.raises(WeightsError, match=r"loftr_em\.safetensors"):
        weights.shipped()
