"""Several GPUs: each worker gets one of them, before anything looks for one. There need be none here."""

from __future__ import annotations

import os
import signal

import pool_tasks
import pytest

from demis_ij.pools import devices, open_pool

TWO = "7,GPU-5a"


def given(pool, tasks=40):
    """Return which device each worker has."""
    found = {d.value for d in pool.unordered(pool_tasks.device, range(tasks))}
    assert not any(is_late for _, _, is_late in found)
    return {pid: device for pid, device, _ in found}


@pytest.mark.parametrize("dask", [None, "local"])
def test_each_worker_gets_a_device_of_its_own(dask, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", TWO)
    with open_pool(2, dask) as pool:
        found = given(pool)
        assert sorted(found.values()) == ["7", "GPU-5a"]
        lost, device = next(iter(found.items()))
        os.kill(lost, signal.SIGKILL)
        new = {}
        for _ in range(20):
            if not new:  # it has not come yet
                new = {pid: name for pid, name in given(pool).items() if pid not in found}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == TWO
    assert list(new.values()) == [device]  # who comes in its place has its device


def test_more_workers_than_devices_share_them():
    names = [devices.device_of(worker, ("0", "1"))["CUDA_VISIBLE_DEVICES"] for worker in range(5)]
    assert names == ["0", "1", "0", "1", "0"]


def test_one_device_or_none_is_left_as_it_is(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "none")
    assert devices.devices() == ()
    assert devices.device_of(0, ()) == devices.device_of(1, ("0",)) == {}
    for n in range(3):
        (tmp_path / "gpus" / f"0000:{n}").mkdir(parents=True)
    monkeypatch.setattr(devices, "DRIVER", tmp_path / "gpus")
    assert devices.devices() == ("0", "1", "2")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.devices() == ()
