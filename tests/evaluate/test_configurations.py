"""How a configuration is written."""

from __future__ import annotations

import pytest

from demis_ij.config import StitchConfig
from demis_ij.errors import InputError
from demis_ij.evaluate import read_configuration, read_configurations


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("loftr", StitchConfig(matcher="loftr")),
        ("loftr@1", StitchConfig(matcher="loftr", resolution=1)),
        ("loftr@0.5,refine=false", StitchConfig(matcher="loftr", resolution=0.5, refine=False)),
        ("loftr,weights=/a b/x=1.safetensors", StitchConfig(matcher="loftr", weights="/a b/x=1.safetensors")),
        (" sift@1 , min_inliers=12 ", StitchConfig(matcher="sift", resolution=1, min_inliers=12)),
        ("auto,model=affine,max_error_px=6", StitchConfig(model="affine", max_error_px=6)),
    ],
)
def test_a_configuration_is_a_matcher_and_any_setting(text, config):
    found = read_configuration(text)
    assert found.stitch == config
    assert found.name == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lofter", "did you mean 'loftr'"),
        ("", "matcher"),
        ("sift@big", "resolution"),
        ("sift@7", "resolution"),
        ("sift,refin=false", "did you mean 'refine'"),
        ("sift,refine", "SETTING=VALUE"),
        ("sift,refine=maybe", "true or false"),
        ("sift,refine=false,refine=true", "twice"),
        ("sift,matcher=loftr", "twice"),
        ("sift@0.5,resolution=1", "twice"),
    ],
)
def test_a_configuration_that_cannot_be_is_named_with_its_problem(text, problem):
    with pytest.raises(InputError, match=problem) as said:
        read_configuration(text)
    assert repr(text) in str(said.value)


def test_configurations_keep_their_order_each_once_and_none_is_refused():
    assert [c.name for c in read_configurations(["sift", "loftr", "sift"])] == ["sift", "loftr"]
    with pytest.raises(InputError, match="one configuration at least"):
        read_configurations([])


def test_the_fingerprint_is_of_the_settings_and_of_the_weights_bytes(tmp_path):
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"one")
    text = f"loftr,weights={weights}"
    first = read_configuration(text).fingerprint
    assert first == read_configuration(f"loftr,refine=true,weights={weights}").fingerprint
    assert first != read_configuration(f"{text},refine=false").fingerprint
    weights.write_bytes(b"two")
    assert first != read_configuration(text).fingerprint


def test_auto_asks_one_matcher_after_another():
    assert read_configuration("auto").chain == ("loftr", "sift", "correlation")
    assert [m.name for m in read_configuration("correlation").matchers()] == ["correlation"]
