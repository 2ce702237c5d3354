# ruff: noqa: F811 - fixtures come by name
"""What is said after Ctrl-C: that the same command goes on, by every command whose help says so."""

from cli_words import demis, made  # noqa: F401 - fixtures

from demis_ij import jobs
from demis_ij.cli.app import GOES_ON, app


def test_commands_that_promise_to_go_on_say_so_when_they_are_interrupted():
    promise = {
        c.name or c.callback.__name__ for c in app.registered_commands if "goes on" in (c.callback.__doc__ or "")
    }
    assert "render" in promise
    assert promise <= set(GOES_ON)


def test_render_says_that_it_goes_on(demis, made, tmp_path, monkeypatch):
    def stopped(*_given, **_named):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_render", stopped)
    said = demis("render", made / "TileConfiguration.txt", "--out", tmp_path / "out", "--mosaic", "png", "--quiet")
    assert said.code == 130
    assert said.lines == ["demis-ij: interrupted; what is done is kept: the same command goes on from there"]
