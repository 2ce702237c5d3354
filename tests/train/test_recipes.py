"""The recipes of the weights that ship can be read by the command that is to follow them."""

from pathlib import Path

import pytest

from demis_ij.train.settings import read_settings

RECIPES = sorted((Path(__file__).parents[2] / "docs" / "recipes").glob("*.toml"))


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_read(path):
    settings = read_settings(path)
    assert settings.train.steps >= 1000
    assert settings.data.licence
