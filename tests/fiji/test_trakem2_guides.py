"""The guides say what the programs say: sentences quoted, names of parameters, code that joins solved copies."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from open_projects import four_tiles, matrices, solve

from demis_ij import formats
from demis_ij.config import StitchConfig

ROOT = Path(__file__).resolve().parents[2]
HOWTO = ROOT / "docs" / "howto"
GAP = "\x00"
CODE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def python_messages() -> list[str]:
    """Every text of the package, with a gap where a value is put in."""
    out = []
    for file in (ROOT / "demis_ij").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                out.append("".join(v.value if isinstance(v, ast.Constant) else GAP for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                out.append(node.value)
    return out


def groovy_messages() -> list[str]:
    """Every text of Fiji's scripts, with a gap where a value is put in."""
    out = []
    for file in (ROOT / "fiji_scripts").rglob("*.g*vy"):
        text = re.sub(r'"\s*\+\s*"', "", file.read_text(encoding="utf-8"))
        out += [re.sub(r"\$\{[^}]*\}|\$\w+", GAP, t) for t in re.findall(r'"((?:\\.|\$\{[^}]*\}|[^"\\])*)"', text)]
    return out


@pytest.fixture(scope="module")
def messages() -> list[str]:
    return [m for m in (*python_messages(), *groovy_messages()) if " " in m]


def quoted() -> list[str]:
    """The sentences in the first column of the tables of symptoms."""
    rows = re.findall(r"^\| (.*?) \|", (HOWTO / "symptoms.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [q for row in rows for q in re.findall(r"`([^`]+)`", row) if " " in q and not q.startswith("--")]


@pytest.mark.parametrize("sentence", quoted())
def test_every_sentence_among_the_symptoms_is_one_that_is_said(sentence, messages):
    parts = [p.strip() for p in sentence.split("...") if p.strip()]
    pattern = re.compile(".*".join(re.escape(p) for p in parts), re.DOTALL)

    assert any(pattern.search(m) for m in messages), f"nobody says {sentence!r} any more"


def test_the_page_of_symptoms_quotes_something():
    assert len(quoted()) > 30


def test_every_setting_among_trakem2s_names_is_one():
    text = (HOWTO / "config.md").read_text(encoding="utf-8").split("## Names from TrakEM2")[1]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    named = {n for line in table for n in re.findall(r"`([a-z_]+)`", line.split("|")[3])}

    assert {"max_error_px", "min_inlier_ratio", "min_inliers", "model", "largest_graph_only"} <= named
    assert named <= set(StitchConfig.__dataclass_fields__)


def test_the_guides_code_joins_solved_copies_of_one_project(tmp_path):
    names: dict = {}
    code = CODE.search((HOWTO / "cluster.md").read_text(encoding="utf-8"))
    assert code is not None
    exec(compile(code[1], "cluster.md", "exec"), names)
    project = four_tiles(tmp_path)
    parts = []
    for i, moved in enumerate(({"t5": (2.0, 3.0)}, {"t8": (-1.5, 0.25)})):
        parts.append(solve(project, **moved).rename(tmp_path / f"project_{i}.xml"))

    out = names["join"](project, parts, tmp_path / "joined.xml")

    expected = matrices(project) | {"5": matrices(parts[0])["5"], "8": matrices(parts[1])["8"]}
    for oid, matrix in matrices(out).items():
        assert matrix == pytest.approx(expected[oid], abs=1e-9)
    assert formats.read(out).layouts[0].ids == formats.read(project).layouts[0].ids
