"""The commands for an open project on the real TrakEM2: of ``--fiji``, or given by ``--class-path``."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from fiji_menu import Menu
from open_projects import matrices

from demis_ij.cli.app import app

pytestmark = pytest.mark.java

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parents[1] / "docs" / "howto" / "trakem2.md"


def has_trakem2(place: str) -> bool:
    """Return whether a jar or a folder of classes holds TrakEM2."""
    return "TrakEM2_" in Path(place).name or (Path(place) / "ini" / "trakem2" / "Project.class").is_file()


@pytest.fixture
def needed(request: pytest.FixtureRequest) -> None:
    fiji = request.config.getoption("--fiji") or request.config.getini("fiji")
    if not fiji and not any(map(has_trakem2, request.config.getoption("--class-path"))):
        pytest.skip("TrakEM2 is not on Maven Central: give --fiji FOLDER, or --class-path with TrakEM2 and its jars")


def test_tiles_move_in_the_real_trakem2_and_undo_brings_them_back(needed, menu: Menu, scene: Path, tmp_path: Path):
    project, report = scene / "project.xml", tmp_path / "report.json"
    plain = ["--set", "correct_intensity=false", "--set", "blend=none"]
    words = ["stitch", str(project), "--matcher", "sift", "--quiet", *plain, "--out", str(tmp_path / "run")]
    assert not app(words, standalone_mode=False)
    digest = hashlib.sha256(project.read_bytes()).hexdigest()

    given = {"folder": str(menu.folder), "project": str(project), "python": sys.executable, "report": str(report)}
    menu.call(HERE / "real_trakem2.groovy", given)

    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    solved = matrices(scene / "project.demis.xml")
    assert told["before"] == matrices(project)
    assert told["after"] == solved, told["update"]
    assert told["changed"] is True
    assert told["label_after"] != told["label"]
    assert told["undo"] is True
    assert told["undone"] == told["before"]
    assert told["label_undone"] == told["label"]
    first, second, *others = sorted(solved, key=int)
    assert [told["locked"][i] for i in (first, second)] == [told["before"][i] for i in (first, second)]
    assert [told["locked"][i] for i in others] == [solved[i] for i in others]
    assert hashlib.sha256(project.read_bytes()).hexdigest() == digest
    assert told["render"].startswith("4 tile(s) drawn by TrakEM2")
    check_picture(scene / "layer.tif", tmp_path / "run")


def check_picture(picture: Path, run: Path) -> None:
    """Hold what TrakEM2 drew against the mosaic, by the guide's own code."""
    code = re.search(
        r"^```python\n(.*?def compare.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], str(GUIDE), "exec"), names)
    found = names["compare"](picture, run)
    assert found["ncc"] > 0.95
    assert abs(found["shift x"]) < 0.3  # px: TrakEM2 takes the nearest pixel
    assert abs(found["shift y"]) < 0.3
