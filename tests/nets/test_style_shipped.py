"""The styles that ship: small, what they say they are, and of use: images that were unlike are registered."""

from __future__ import annotations

import numpy as np
import pytest

from demis_ij.aligners.elastic import ElasticAligner
from demis_ij.aligners.styled import StyledAligner
from demis_ij.config.elastic import ElasticSettings
from demis_ij.fields import dense
from demis_ij.geometry import Box
from demis_ij.nets.style_check import check_style
from demis_ij.nets.style_look import from_bytes, look_at
from demis_ij.nets.style_transfer import style_of
from demis_ij.nets.style_weights import SHIPPED, load_style
from demis_ij.nets.weights import shipped
from demis_ij.synth.correlative_views import EVALUATION, views

SIDE = 384


@pytest.fixture(scope="module", params=["steel", "tissue"])
def pair(request):
    return views(request.param, EVALUATION - 77, SIDE)  # trained on were 100000 to 100319


def test_what_ships_is_small_and_says_what_it_is():
    assert sum(shipped(f"style_{name}").stat().st_size for name in SHIPPED) < 10e6
    for name in SHIPPED:
        loaded = load_style(name)
        assert loaded.card["step"] > 0
        assert loaded.card["licence"]
        assert loaded.name == name
    assert load_style("steel").forward.form.source_channels == 3
    assert (load_style("fluorescence").source, load_style("fluorescence").target) == ("em", "fluorescence")


def test_restyled_light_is_registered_where_grey_light_is_not(pair):
    known = np.ones(pair.sem.shape, bool)
    truth = dense(pair.truth, Box(0, 0, SIDE, SIDE))

    def residual(field):
        off = np.hypot(*(dense(field, Box(0, 0, SIDE, SIDE)) - truth))
        return float(off[24:-24, 24:-24].mean())

    aligner = ElasticAligner(ElasticSettings(device="cpu"))
    grey = (pair.lom @ np.array([0.299, 0.587, 0.114])).astype(np.float32)
    raw = residual(aligner(pair.sem.astype(np.float32), grey, known, known))
    styled = residual(StyledAligner(style_of(pair.kind, device="cpu"), aligner)(pair.sem, pair.lom, known, known))
    assert styled < 2  # px: the tier "good"; nothing done is about 5
    assert styled < 0.5 * raw


def test_what_is_painted_has_a_cause_and_lies_where_it_was(pair):
    style = style_of(pair.kind, device="cpu")
    restyled = style(pair.lom)
    source = look_at(pair.lom, window_px=style.form.source_window_px)
    check = check_style(source, from_bytes(restyled.image[None]), restyled.mask)
    assert check.invented < 0.3
    assert check.lost < 0.2
    assert check.drift_px < 1


def test_structure_of_another_image_counts_for_what_share_it_has(pair):
    style = style_of(pair.kind, device="cpu")
    source = look_at(pair.lom, window_px=style.form.source_window_px)
    everywhere = np.ones(pair.sem.shape, bool)
    own = from_bytes(style(pair.lom).image[None])
    other = from_bytes(style(views(pair.kind, EVALUATION - 78, SIDE).lom).image[None])
    fields = np.indices(own.shape[1:]).sum(0) // 64 % 2  # diagonal stripes
    half = np.where(fields > 0, other, own)

    shares = [check_style(source, shown, everywhere).invented for shown in (own, half, other)]

    assert shares[0] < 0.15
    assert 0.35 < shares[1] < 0.7
    assert shares[2] > 0.85
