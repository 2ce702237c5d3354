# ruff: noqa: F811 - fixtures come by name
"""What ``--memory`` says of drawing, from the command line."""

import shutil

from cli_words import demis, made  # noqa: F401 - fixtures


def test_too_little_memory_to_draw_is_one_line_before_anything_is_written(demis, made, tmp_path):
    layout = made / "TileConfiguration.txt"
    for verb, words in (("render", ()), ("stitch", ("--set", "matcher=sift")), ("render", ("--workers", "2"))):
        many = 400 if words == ("--workers", "2") else 200
        said = demis(verb, layout, "--out", tmp_path / "out", "--mosaic", "ome-zarr", "--memory", f"{many}M", *words)

        assert said.code == 2
        assert f"--memory {many}M is too small" in said.err
        assert "to draw a mosaic of these tiles" in said.err
        assert len(said.lines) == 1, said.err
        assert not (tmp_path / "out").exists()


def test_memory_that_is_enough_to_draw_is_taken(demis, made, tmp_path):
    scene = shutil.copytree(made, tmp_path / "user")
    said = demis("render", scene / "TileConfiguration.txt", "--out", tmp_path / "out", "--memory", "250M")

    assert said.code == 0, said.err
