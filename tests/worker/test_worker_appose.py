"""Appose's own client, in Java, drives our worker: the protocol is Appose's, not what we take it for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.java

SCRIPT = Path(__file__).with_name("appose_client.groovy")


@pytest.fixture(scope="module")
def appose_jars() -> list[str]:
    """Return the jars of Appose's client; Groovy's JSON it takes from the session."""
    from demis_ij.imagej.jars import Jar, fetch

    digests = {
        ("org.apposed", "appose", "0.9.0"): "b09ce4ff9d7a29518bba7ec7903c63d0504159637376506d9b2a3a70ed37b1bc",
        ("net.java.dev.jna", "jna", "5.14.0"): "34ed1e1f27fa896bca50dbc4e99cf3732967cec387a7a0d5e3486c09673fe8c6",
        ("net.java.dev.jna", "jna-platform", "5.14.0"):
            "ae4caceb3840730c2537f9b7fb55a01baba580286b4122951488bcee558c2449",
    }  # fmt: skip
    return [str(path) for path in fetch([Jar(*names, digest) for names, digest in digests.items()])]


def test_a_real_appose_client_plans_stitches_cancels_and_hears_of_failures(
    imagej_session, appose_jars, scene, larger, tmp_path
):
    found = imagej_session.run_script(
        SCRIPT,
        {
            "jars": appose_jars,
            "command": [sys.executable, "-u", "-m", "demis_ij.worker"],
            "layout": str(scene / "project.xml"),
            "larger": str(larger / "project.xml"),
            "out": str(tmp_path / "Lauf 1"),
        },
    )["found"]

    assert found["plan"]["status"] == "COMPLETE"
    assert found["plan"]["outputs"]["sections"][0]["tiles"] == 4
    assert found["stitch"]["status"] == "COMPLETE"
    assert found["stitch"]["outputs"]["summary"]["pairs_accepted"] == 4
    assert Path(found["stitch"]["outputs"]["pictures"][0]["path"]).is_file()
    kinds = [kind for kind, *_ in found["events"]]
    assert kinds[0] == "LAUNCH"
    assert kinds[-1] == "COMPLETION"
    assert "UPDATE" in kinds
    assert {(message, maximum) for kind, message, _, maximum in found["events"] if kind == "UPDATE"} >= {("report", 1)}
    assert found["cancelled"]["status"] == "CANCELED"
    assert found["failed"]["status"] == "FAILED"
    assert found["failed"]["error"].splitlines()[0] == (
        "matcher: 'lofter' is not one of auto, loftr, sift, correlation (did you mean 'loftr'?)"
    )
    assert found["unknown"]["status"] == "FAILED"
    assert found["unknown"]["error"].startswith("unknown verb 'import numpy as np'")
    assert found["invalid"] == []
    assert found["alive"] is True
    assert found["code"] == 0
    assert found["broken"]["status"] == "CRASHED"
