"""How the limit of registering is chosen: the rule does what it says."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    """Return the program as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sys.modules.pop("register_limit", None)
    import register_limit

    return register_limit


@pytest.fixture
def made(program):
    """Return what makes a pair: standing, error and the need of its own of each place that was tried."""

    def one(scene, *places):
        tried = tuple(program.Tried("search", standing, own, error) for standing, error, own in places)
        return program.Pair(scene, 0, tried)

    return one


def test_of_limits_that_serve_alike_the_cautious_one_is_taken(program, made):
    pairs = [made("mono/full", (30, 0.1, None)), made("strangers: mono/full", (6.2, None, None))]

    assert program.chosen(pairs) == program.CAUTIOUS


def test_a_stranger_that_stands_out_raises_the_limit_above_it_by_the_margin(program, made):
    pairs = [made("mono/full", (30, 0.1, None)), made("strangers: mono/full", (8.1, None, None))]

    assert program.chosen(pairs) == 9.5
    assert program.chosen([*pairs, made("strangers: light/full", (10.4, None, None))]) is None


def test_a_wrong_place_of_a_pair_counts_as_a_stranger_does(program, made):
    pairs = [made("mono/full", (30, 0.1, None)), made("light_hard/full", (7.9, 80.0, None), (15, 0.5, None))]

    assert program.chosen(pairs) == 9
    assert program.told(pairs)["light_hard/full"][7.5] == (0, 1)
    assert program.told(pairs)["light_hard/full"][9] == (0, 0)


def test_a_lower_limit_is_taken_where_it_keeps_pairs_and_strangers_are_far_below(program, made):
    pairs = [made("mono/full", (30, 0.1, None)), made("light_hard/full", (7.6, 0.5, None))]

    assert program.chosen([*pairs, made("strangers: mono/full", (6.3, None, None))]) == 7.5
    assert program.chosen([*pairs, made("strangers: mono/full", (6.9, None, None))]) == 8.5


def test_no_limit_serves_that_refuses_more_than_two_in_a_hundred_easy_pairs(program, made):
    pairs = [made("mono/full", (8.2, 0.1, None)), made("strangers: mono/full", (7.4, None, None))]

    assert program.chosen(pairs) is None


def test_what_needs_less_by_its_parts_is_believed_at_every_limit(program, made):
    pair = made("xray/full", (7.2, 0.4, 7.0))

    assert all(pair.at(limit) is not None for limit in program.LIMITS)


def test_pairs_that_are_written_down_make_the_table_and_the_limit(program, made, monkeypatch, tmp_path, capsys):
    pairs = [made("mono/full", (30, 0.1, None)), made("strangers: mono/full", (6.2, None, None))]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(asdict(p)) + "\n" for p in pairs))
    monkeypatch.setattr(sys, "argv", ["register_limit.py", "--pairs", "0", "--out", str(tmp_path)])

    assert program.main() == 0
    said = capsys.readouterr().out
    assert "| strangers | 1 | 1 (0) |" in said
    assert "highest of strangers: 6.20, search" in said
    assert "limit: 8.5" in said
