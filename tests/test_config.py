"""Settings: one place for every default, checked by type, range and name."""

from __future__ import annotations

import ast
import inspect
import json
import math
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import demis_ij
from demis_ij.config import RenderConfig, StitchConfig, from_dict, read_toml, to_dict
from demis_ij.errors import FormatError, InputError

KINDS = (StitchConfig, RenderConfig)
NUMBERS = [(k, f.name) for k in KINDS for f in fields(k) if type(f.default) in (int, float)]
WORDS = [(k, f.name) for k in KINDS for f in fields(k) if isinstance(f.default, str) and f.name != "weights"]
SWITCHES = [(k, f.name) for k in KINDS for f in fields(k) if isinstance(f.default, bool)]


def test_the_defaults_are_those_of_the_issue():
    config = StitchConfig()
    assert (config.matcher, config.model, config.solver, config.weights) == ("auto", "rigid", "sparse", "shipped")
    assert (config.resolution, config.stage_search_frac) == (0.5, 0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_comes_back_from_its_own_json(kind):
    again = from_dict(kind, json.loads(json.dumps(to_dict(kind()))))
    assert again == kind()


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_cannot_be_changed(kind):
    with pytest.raises(FrozenInstanceError):
        setattr(kind(), fields(kind)[0].name, "x")


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -1, 1e9, "3", True, None, [1]])
def test_a_number_out_of_range_or_of_another_type_is_named(kind, name, value):
    with pytest.raises(InputError, match=rf"^{name}: "):
        from_dict(kind, {name: value})


@pytest.mark.parametrize(("kind", "name"), WORDS)
@pytest.mark.parametrize("value", ["nope", 3, None, ["auto"]])
def test_a_name_that_is_not_known_is_answered(kind, name, value):
    with pytest.raises(InputError, match=rf"^{name}: "):
        from_dict(kind, {name: value})


@pytest.mark.parametrize(("kind", "name"), SWITCHES)
@pytest.mark.parametrize("value", ["no", 0, 1, None])
def test_a_switch_is_true_or_false_and_nothing_that_counts_as_such(kind, name, value):
    with pytest.raises(InputError, match=rf"^{name}: .* is not true or false"):
        from_dict(kind, {name: value})


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_key_is_answered_with_the_nearest(kind):
    for field in fields(kind):
        with pytest.raises(InputError, match=f"did you mean '{field.name}'"):
            from_dict(kind, {field.name + "x": 1})


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=12))
def test_any_other_key_is_refused_in_words(key):
    if key not in {f.name for f in fields(StitchConfig)}:
        with pytest.raises(InputError, match="unknown setting"):
            from_dict(StitchConfig, {key: 1})


def test_mosaic_formats_may_be_one_or_several_each_once():
    assert RenderConfig(formats="png").formats == ("png",)
    assert RenderConfig(formats=["png", "ome-tiff", "png"]).formats == ("png", "ome-tiff")
    for wrong in (3, ["gif"], "tiff", [1]):
        with pytest.raises(InputError, match="format"):
            RenderConfig(formats=wrong)


@pytest.mark.parametrize("data", [b"a = ", b"[stitch", b"\xff\xfe"])
def test_toml_that_cannot_be_read_names_its_file(tmp_path, data):
    (tmp_path / "c.toml").write_bytes(data)
    with pytest.raises(FormatError, match=r"c\.toml"):
        read_toml(tmp_path / "c.toml")
    with pytest.raises(FormatError, match=r"nope\.toml"):
        read_toml(tmp_path / "nope.toml")


def test_every_setting_is_explained():
    for kind in KINDS:
        told = inspect.getdoc(kind)
        assert [f.name for f in fields(kind) if f.name not in told] == []


def test_the_command_line_has_no_defaults_of_its_own():
    """An option that a config holds has the default None there: the config alone decides."""
    named = {f.name for k in KINDS for f in fields(k)}
    source = Path(demis_ij.__file__).with_name("cli") / "stitching.py"
    for function in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            arguments = function.args.args[len(function.args.args) - len(function.args.defaults) :]
            for argument, default in zip(arguments, function.args.defaults, strict=True):
                if argument.arg in named - {"include_hidden"}:  # a flag can only switch it on
                    assert ast.literal_eval(default) is None, argument.arg
