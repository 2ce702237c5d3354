"""The conda environment has what the package needs, and a notebook."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONDA_NAMES = {"torch": "pytorch"}


def project() -> dict[str, list[str]]:
    """Names and least versions that pip is told, and those of the extra ``jupyter``."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {"needed": told["dependencies"], "jupyter": told["optional-dependencies"]["jupyter"]}


def environment() -> dict[str, str]:
    """Package to least version in ``environment.yml``, of conda's and pip's lists."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    lines = re.findall(r"^\s+- ([\w.-]+)([<>=,\d.]*)\s*(?:#.*)?$", text, re.MULTILINE)
    return {name: re.sub(r"^>=|,.*", "", limit) for name, limit in lines}


def version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(".") if n)


def test_conda_gets_every_package_in_a_version_that_is_new_enough() -> None:
    there = environment()
    for requirement in [*project()["needed"], *project()["jupyter"]]:
        name, least = re.match(r"([\w-]+)>=([\d.]+)", requirement).groups()  # type: ignore[union-attr]
        found = CONDA_NAMES.get(name, name)
        assert found in there, f"environment.yml lacks {found}"
        if there[found]:
            assert version(there[found]) >= version(least), f"{found}: {requirement}"


def test_the_environment_has_the_java_that_fiji_needs_and_no_second_opencv() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")

    assert re.search(r"^  - openjdk=21\b", text, re.MULTILINE)
    assert not re.search(r"^\s+- opencv\b(?!-python-headless)", text, re.MULTILINE)
