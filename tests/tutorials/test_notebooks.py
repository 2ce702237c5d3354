"""The notebooks run from a fresh clone, and what they show is kept with them."""

from __future__ import annotations

import base64
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import nbformat
import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
MACHINE = re.compile(
    r"(?<![\w.~/-])/(?:home|root|Users|tmp|work|opt|var|private|mnt|usr)/[\w.-]"  # folders of a machine
    r"|[A-Za-z]:\\\\?[A-Za-z]"
    r"|localhost|127\.0\.0\.1"
)
PICTURE = re.compile(r'src="data:image/')


def make_tutorials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tutorials", ROOT / "docs" / "make_tutorials.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_tutorials"] = module  # the classes of a kernel's settings are looked up there
    spec.loader.exec_module(module)
    return module


MAKER = make_tutorials()


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def outputs(notebook: Any) -> list[Any]:
    return [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]


def pictures(notebook: Any) -> int:
    """How many pictures a notebook shows."""
    found = 0
    for o in outputs(notebook):
        data = o.get("data", {})
        found += any(kind in data for kind in ("image/png", "image/jpeg"))
        found += bool(PICTURE.search(data.get("text/html", "")))
    return found


def words(notebook: Any) -> str:
    """All text of a notebook's outputs, without pictures."""
    said = []
    for o in outputs(notebook):
        data = o.get("data", {})
        said += [o.get("text", ""), *(v for kind, v in data.items() if not kind.startswith("image/"))]
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", "\n".join(said))


MARKED = [pytest.param(p, id=p.stem, marks=[pytest.mark.java] if "imagej" in p.stem else []) for p in NOTEBOOKS]


@pytest.mark.parametrize("path", MARKED)
@pytest.mark.slow
def test_a_notebook_runs_from_its_first_cell_to_its_last(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    ran = MAKER.executed(read(path), tmp_path)

    assert not [o for o in outputs(ran) if o.output_type == "error"]
    assert pictures(ran) == pictures(read(path)), "shows other pictures than those kept: run docs/make_tutorials.py"
    assert path.read_bytes() == before
    strange = [p.name for p in tmp_path.iterdir() if not re.fullmatch(r"tutorial_\d", p.name)]
    assert strange == []


def test_there_are_seven_and_their_numbers_are_their_order() -> None:
    assert [p.name[:2] for p in NOTEBOOKS] == ["1_", "2_", "3_", "4_", "5_", "6_", "7_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_a_notebook_shows_is_kept_with_it(path: Path) -> None:
    notebook = read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert pictures(notebook) >= 3
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert "demis_ij" in code[0].outputs[0].text, "the first cell says which versions ran"
    assert not [o for o in outputs(notebook) if o.output_type == "error" or o.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_is_kept_names_no_machine_and_is_small(path: Path) -> None:
    notebook = read(path)

    assert MACHINE.findall(words(notebook)) == []
    assert path.stat().st_size < 1_500_000
    assert all(len(v) < 400_000 for o in outputs(notebook) for v in o.get("data", {}).values())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_as_its_maker_writes_it(path: Path) -> None:
    """A notebook saved from Jupyter has ids, counts and times of its own: docs/make_tutorials.py takes them out."""
    notebook = read(path)

    assert MAKER.normalised(notebook, Path("/nowhere")) == notebook
    nbformat.validate(notebook)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_picture_is_explained_just_before(path: Path) -> None:
    """A line of text above, or a picture of the cell before that the same text speaks of."""
    cells = read(path).cells
    for i, cell in enumerate(cells):
        if cell.cell_type == "code" and any("image/jpeg" in o.get("data", {}) for o in cell.outputs):
            assert "markdown" in {cells[i - 1].cell_type, cells[i - 2].cell_type}, f"cell {i + 1}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_links_of_a_notebook_lead_somewhere(path: Path) -> None:
    for cell in read(path).cells:
        for link in LINK.findall(cell.source) if cell.cell_type == "markdown" else ():
            target = (path.parent / link.partition("#")[0]).resolve()
            assert link.startswith("https://") or target.exists(), link


def test_a_cell_that_fails_is_found(tmp_path: Path) -> None:
    broken = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])

    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        MAKER.executed(broken, tmp_path)


def test_what_differs_from_run_to_run_is_taken_out(tmp_path: Path) -> None:
    cell = nbformat.v4.new_code_cell("x", metadata={"execution": {"iopub.status.busy": "2020"}}, execution_count=7)
    cell.outputs = [
        nbformat.v4.new_output("stream", name="stdout", text=f"{tmp_path}/a.tif\n"),
        nbformat.v4.new_output("stream", name="stdout", text="more\n"),
        nbformat.v4.new_output("execute_result", data={"text/html": "<b>b</b>", "text/plain": "x" * 999}),
    ]
    made = MAKER.normalised(nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {}}), tmp_path)
    (kept,) = made.cells

    assert (kept.id, kept.execution_count, kept.metadata) == ("cell-1", 1, {})
    assert [o.output_type for o in kept.outputs] == ["stream", "execute_result"]
    assert kept.outputs[0].text == "a.tif\nmore\n"
    assert kept.outputs[1].data == {"text/html": "<b>b</b>"}
    assert kept.outputs[1].execution_count == 1
    assert "widgets" not in made.metadata


def test_a_large_png_is_kept_as_a_jpeg_and_a_small_one_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (200, 300), np.uint8)
    kept = []
    for image in (noise, noise[:20, :30]):
        coded = base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode("ascii")
        cell = nbformat.v4.new_code_cell(
            "x", outputs=[nbformat.v4.new_output("display_data", data={"image/png": coded})]
        )
        made = MAKER.normalised(nbformat.v4.new_notebook(cells=[cell]), Path("/nowhere"))
        kept.append(made.cells[0].outputs[0].data)

    assert [list(k) for k in kept] == [["image/jpeg"], ["image/png"]]
    read_again = cv2.imdecode(np.frombuffer(base64.b64decode(kept[0]["image/jpeg"]), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.corrcoef(read_again.ravel(), noise.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("path", ["/home/me/x", "C:\\Users", "at /tmp/abc/run", "http://localhost:88"])
def test_paths_of_a_machine_are_recognised(path: str) -> None:
    assert MACHINE.search(path)
    assert not MACHINE.search("tutorial_1/data/project.xml and </b>/opt-in a/home/b")
