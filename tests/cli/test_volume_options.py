# ruff: noqa: F811 - fixtures come by name
"""``stitch`` on stacks from the command line: who works, what may be kept, sections in files of their own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_words import demis  # noqa: F401 - a fixture

from demis_ij.errors import InputError
from demis_ij.jobs.memory import size_in_bytes
from demis_ij.testing.made_stacks import noise_picture, picture_shape, write_stack

FAST = ("--matcher", "sift", "--set", "resolution=1.0", "--stage-axes", "+x+y", "--mosaic", "none", "--quiet")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Return two sections of 1 x 2 tiles that no test changes."""
    shape = picture_shape(1, 2, 160, 0.3)
    pictures = (noise_picture(shape, np.random.default_rng(i)) for i in range(2))
    folder = tmp_path_factory.mktemp("stack") / "made"
    return write_stack(folder, pictures, np.random.default_rng(0), rows=1, cols=2, tile_px=160, overlap=0.3)


def test_a_folder_of_layout_files_is_stitched_and_its_report_made_anew(demis, stack, tmp_path):
    said = demis("stitch", stack.each, "--each", "*.txt", "--out", tmp_path / "run", *FAST, "--json")
    assert said.code == 0, said
    assert (said.json["tiles"], said.json["placed_by"], said.json["warnings"]) == (4, {"sift": 4}, [])
    settings = json.loads((tmp_path / "run" / "run.json").read_text())
    assert settings["read"]["each"] == "*.txt"
    assert not {"workers", "dask", "memory_bytes"} & set(settings)
    assert demis("report", tmp_path / "run").code == 0


def test_the_plan_names_every_section(demis, stack, tmp_path):
    said = demis("stitch", stack.each, "--each", "*.txt", "--out", tmp_path / "run", *FAST, "--dry-run")
    assert said.code == 0
    assert "section 0: 2 tiles, 1 pairs" in said.out
    assert "section 1: 2 tiles, 1 pairs" in said.out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--memory", "8Q"), "needed a size such as 8G"),
        (("--memory", "0"), "needed a size such as 8G"),
        (("--memory", "50M"), "--memory 50M is too small: one process needs 183M"),
        (("--workers", "-1"), "greater than or equal to 0"),
        (("--dask", "tcp://127.0.0.1:9"), "no scheduler answers at tcp://127.0.0.1:9"),
        (("--across-z", "11"), "across_z"),
        (("--across-z", "1", "--set", "lens=shared"), "a lens is looked for in sections kept apart"),
        (("--project-out", "x.txt"), "each of these sections has its own"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_written(demis, stack, tmp_path, words, told):
    said = demis("stitch", stack.each, "--each", "*.txt", "--out", tmp_path / "run", *FAST, *words)
    assert said.code == 2
    assert told in said.err
    assert len(said.lines) == 1, said.err
    assert not (tmp_path / "run").exists()


def test_sizes_are_read_as_people_write_them():
    assert size_in_bytes("8G") == size_in_bytes("8 GiB") == size_in_bytes("8192m") == 8 << 30
    with pytest.raises(InputError):
        size_in_bytes("-3G")
