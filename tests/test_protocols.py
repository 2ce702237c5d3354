"""Name tables: parts are found by name, late, and a wrong name is answered with the right ones."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from demis_ij import protocols
from demis_ij.errors import InputError
from demis_ij.protocols import (
    ALIGNERS,
    FORMATS,
    MATCHERS,
    SINKS,
    SOLVERS,
    Aligner,
    LayoutFormat,
    Matcher,
    NameTable,
    Solver,
)


@pytest.mark.parametrize("table", [MATCHERS, SOLVERS, ALIGNERS, FORMATS, SINKS], ids=lambda t: t.kind)
def test_every_name_leads_to_a_part(table):
    for name in table.names:
        assert callable(table[name])


def test_parts_keep_their_protocols():
    assert isinstance(MATCHERS["sift"](), Matcher)
    assert isinstance(MATCHERS["correlation"](), Matcher)
    assert isinstance(SOLVERS["sparse"](), Solver)
    assert isinstance(ALIGNERS["flow"](), Aligner)
    assert all(isinstance(FORMATS[name](), LayoutFormat) for name in FORMATS.names)


def test_a_wrong_name_is_answered_with_the_nearest_and_all():
    with pytest.raises(InputError, match=r"'lofter'; did you mean 'loftr'\? Known: loftr, sift, correlation"):
        MATCHERS["lofter"]


def test_somebody_elses_part_is_found_by_its_entry_point(monkeypatch):
    mine = EntryPoint("mine", "demis_ij.matchers.sift:SiftMatcher", "demis_ij.matchers")
    monkeypatch.setattr(protocols, "entry_points", lambda group: [mine] if group == mine.group else [])

    assert "mine" in MATCHERS.names
    assert MATCHERS["mine"]().name == "sift"


def test_our_own_names_cannot_be_taken_by_others(monkeypatch):
    theirs = EntryPoint("sift", "somebody:Else", "demis_ij.matchers")
    monkeypatch.setattr(protocols, "entry_points", lambda group: [theirs])

    assert MATCHERS["sift"].__module__ == "demis_ij.matchers.sift"


def test_nothing_is_imported_before_it_is_asked_for():
    table = NameTable("thing", {"broken": "demis_ij.no_such_room:Thing"})

    assert table.names == ["broken"]
    with pytest.raises(ModuleNotFoundError):
        table["broken"]
