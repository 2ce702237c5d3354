"""Sections that are registered together come out as one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from demis_ij.aligners.ssemnet import Engine, Registration, align_series
from demis_ij.aligners.ssemnet_registering import Task, registered
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.errors import InputError
from demis_ij.synth.series import series

SIDE = 96
ALL = np.ones((SIDE, SIDE), bool)
CONFIG = SsemnetConfig(
    steps=6,
    rounds=2,
    levels=1,
    spacing_px=24.0,
    patience=4,
    sides="both",
    sweeps=2,
    neighbours=1,
    device="cpu",
    beta=3.0,
    gamma=3.0,
)
TOLERANCE_PX = 0.1  # a batch rounds otherwise, and each step of Adam makes more of it


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def shown():
    """Return seven sections that lie up to 3 px off; the fourth is empty, and the sixth lacks a corner."""
    made = series((SIDE + 8, SIDE + 8), 7, 12, style="tem", step_px=3)
    rng = np.random.default_rng(2)
    out = []
    for k in range(7):
        x, y = rng.integers(1, 7, 2)
        out.append((made[k].image[y : y + SIDE, x : x + SIDE], ALL.copy()))
    out[3] = (np.zeros((SIDE, SIDE)), ~ALL)
    out[5][1][:40, :40] = False
    return out


def apart(one: list[Registration], two: list[Registration]) -> float:
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.field.known, b.field.known)
    return max(
        float(np.nanmax(np.abs(a.field.offsets - b.field.offsets), initial=0)) for a, b in zip(one, two, strict=True)
    )


def test_sections_with_other_neighbours_come_out_together_as_one_by_one(shown):
    """Two neighbours, one, none; one that fits already and is over at once."""
    engine = Engine(CONFIG)
    sections = [engine.section(*s) for s in shown]
    tasks = [
        Task(sections[1], ((sections[0], 1.0), (sections[2], 0.5))),
        Task(sections[4], ((sections[5], 1.0),)),
        Task(sections[6], ()),
        Task(sections[3], ((sections[0], 1.0),)),
        Task(sections[2], ((sections[2], 1.0),)),
    ]

    together, alone = registered(tasks), [registered([t])[0] for t in tasks]

    assert apart(together, alone) < TOLERANCE_PX
    assert [len(r.losses) for r in together] == [len(r.losses) for r in alone]
    assert len(together[4].losses) == 1  # equal sections: over at the first step
    assert len(together[0].losses) > 4
    assert np.abs(together[0].field.offsets).max() > 0.5
    assert not together[3].field.known.any()


@pytest.mark.parametrize("neighbours", [1, 2])
def test_a_series_in_batches_is_that_of_the_same_order_one_by_one(shown, neighbours):
    plain = replace(CONFIG, neighbours=neighbours, drop=0.0, patience=0)
    config, told = replace(plain, batch=4), []

    together = list(align_series(shown.__getitem__, 7, config, progress=lambda *a: told.append(a[1:])))

    first = list(align_series(shown.__getitem__, 7, replace(plain, sweeps=1)))
    engine, now, usable = Engine(plain), list(first), [0, 1, 2, 4, 5, 6]
    sections = [engine.section(*s) for s in shown]
    for colour in range(neighbours + 1):
        for place in range(colour, 6, neighbours + 1):
            k = usable[place]
            near = [usable[n] for n in range(place - neighbours, place + neighbours + 1) if 0 <= n < 6 and n != place]
            given = tuple((sections[j].moved(now[j].field), 0.5 ** (abs(j - k) - 1)) for j in near)
            (now[k],) = registered([Task(sections[k], given, now[k].field)])
    assert apart(together, now) < TOLERANCE_PX
    assert apart(together, first) > 3 * TOLERANCE_PX  # the second sweep did something
    assert told[-1] == (14, 14)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_batch_without_a_second_sweep_is_refused_in_one_line():
    with pytest.raises(InputError, match="need 2 sweeps") as refused:
        SsemnetConfig(batch=4, sweeps=1)
    assert "\n" not in str(refused.value)
