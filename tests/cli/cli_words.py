"""A small layout, a way to call the command line, and a picture of a folder's bytes: a plug-in of the tests here."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tifffile

from demis_ij import synth
from demis_ij.cli import main
from demis_ij.synth import GridSpec

SMALL = GridSpec(
    rows=2, cols=2, tile_px=256, overlap=0.25, rotation_deg=0.5, shift_frac=0.02, stage_error_frac=0.02, noise_sd=3
)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.lines if line.startswith("warning: ")]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def bytes_of(folder: Path) -> dict[str, str]:
    """Return every file below a folder (hidden ones, too) with its digest; folders end in a slash."""
    return {
        f"{p.relative_to(folder)}{'/' if p.is_dir() else ''}": ""
        if p.is_dir()
        else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
    }


def solution_of(run: Path) -> Any:
    """Return ``solution.json``, read by a parser that takes nothing but JSON."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads((run / "solution.json").read_text(encoding="utf-8"), parse_constant=refuse)


def spoil_pixels(path: Path) -> None:
    """Keep a TIFF's header and size, and spoil its compressed pixels: only reading them tells."""
    tifffile.imwrite(path, tifffile.imread(path), compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        page = file.pages[0].aspage()
        start, count = page.dataoffsets[0], page.databytecounts[0]
    data[start : start + count] = bytes(count)
    path.write_bytes(data)


@pytest.fixture
def demis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Call the command line as a user does."""

    def call(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["demis-ij", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Said(int(left.value.code or 0), said.out, said.err)

    return call


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a scene on disk that no test changes: 2 x 2 tiles as project.xml and TileConfiguration.txt."""
    return synth.write_scene(synth.make_scene(SMALL, 3), tmp_path_factory.mktemp("made") / "scene")


@pytest.fixture
def scene(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the scene that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "user"))
