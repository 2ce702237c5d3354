"""The documentation is true: links lead somewhere, commands parse, code runs, generated pages are up to date."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest
import typer

from demis_ij import synth
from demis_ij.cli.app import app
from demis_ij.cli.settings import configs

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md")])
RUN = [p for p in PAGES if p.parent.name == "howto" or p.name == "tour.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
NAMED = ("matcher", "model", "solver", "weights", "device")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def make_cli() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs" / "make_cli.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def command_lines(page: Path) -> list[list[str]]:
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")]


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in HEADING.findall(text)}


def parsed(arguments: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the command and the values that ``demis-ij ARGUMENTS`` would be called with. A wrong option raises."""
    group: Any = typer.main.get_command(app)
    with group.make_context("demis-ij", list(arguments)) as context:
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        return parsed_below(group, context, list(rest))


def parsed_below(group: Any, context: Any, words: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the command and its values, of a command or of a group of commands."""
    name, command, rest = group.resolve_command(context, words)
    with command.make_context(name, list(rest), parent=context) as inner:
        if not hasattr(command, "resolve_command"):
            return name, dict(inner.params)
        rest = [*inner._protected_args, *inner.args] if hasattr(inner, "_protected_args") else inner.args
        below, values = parsed_below(command, inner, list(rest))
        return f"{name} {below}", values


ALL_LINES = [(name_of(page), line) for page in PAGES for line in command_lines(page)]


def test_the_documentation_holds_commands_and_code() -> None:
    assert len(ALL_LINES) > 20
    assert sum(len(blocks(page, "python")) for page in RUN) > 5


def test_generated_pages_are_up_to_date() -> None:
    maker = make_cli()

    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == maker.command_page(), "run python docs/make_cli.py"
    for page in maker.PAGES:
        text = page.read_text(encoding="utf-8")
        assert "<!-- generated: " in text
        assert text == maker.filled(text), f"{name_of(page)}: run python docs/make_cli.py"


def test_every_command_and_every_option_says_what_it_does() -> None:
    maker = make_cli()
    for name, call in maker.commands_of(app).items():
        assert inspect.getdoc(call), name
        for parameter, _, option in maker.parameters(call):
            assert option.help, f"{name} {parameter.name}"
    assert app.info.help


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the project"
        assert target.exists(), f"{link}: there is no {target}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{link}: {target.name} has no heading {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        one = todo.pop()
        if one in seen or one.suffix != ".md":
            continue
        seen.add(one)
        links = LINK.findall(BLOCK.sub("", one.read_text(encoding="utf-8")))
        todo += [(one.parent / link.partition("#")[0]).resolve() for link in links if not re.match("https?:|#", link)]

    assert page in seen


@pytest.mark.parametrize(("page", "line"), ALL_LINES, ids=lambda v: v if isinstance(v, str) else " ".join(v[:4]))
def test_every_command_line_parses(page: str, line: list[str]) -> None:
    program, *arguments = line
    if program.startswith("python"):
        if arguments[:2] == ["-m", "demis_ij"]:
            arguments = arguments[2:]
        elif arguments[0] == "start.py":
            rest = [a for a in arguments[1:] if a != "--cpu"]
            assert rest[0] in {"demo", "test", "run"}, rest
            arguments = ["demo", *rest[1:]] if rest[0] == "demo" else rest[1:] if rest[0] == "run" else ["--version"]
        elif arguments[0].startswith("benchmarks/"):
            check_options(arguments[0], given=arguments[1:])
            return
        else:
            assert arguments[0] in {"docs/make_cli.py", "-m"}, line
            return
    elif program != "demis-ij":
        assert program in {"pip", "conda", "git", "cd", "source", "uv"}, f"{page}: {program} is not checked"
        return
    if arguments in (["--help"], ["--version"]):
        return
    name, values = parsed(arguments)
    if name in {"stitch", "render"}:
        configs(None, values.get("setting"), values.get("mosaic"), **{k: values.get(k) for k in NAMED})


def check_options(program: str, given: list[str]) -> None:
    """Every ``--option`` of a line is one that the program's help lists."""
    shown = helps()[program]
    for option in (a for a in given if a.startswith("--")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown), f"{program} has no {option}"


ASK_ALL = """
import contextlib, io, json, runpy, sys
sys.path[0] = "benchmarks"
said = {}
for program in json.loads(sys.argv[1]):
    sys.argv = [program, "--help"]
    with contextlib.redirect_stdout(io.StringIO()) as page:
        try:
            runpy.run_path(program, run_name="__main__")
            code = "it did not end"
        except SystemExit as end:
            code = end.code
    if code:
        raise SystemExit(f"{program} --help: {code}")
    said[program] = page.getvalue()
print(json.dumps(said))
"""


@cache
def helps() -> dict[str, str]:
    """Return what our programs say of themselves, by their paths; all in one process, which imports PyTorch once."""
    programs = sorted({line[1] for _, line in ALL_LINES if len(line) > 1 and line[1].startswith("benchmarks/")})
    done = subprocess.run(
        [sys.executable, "-c", ASK_ALL, json.dumps(programs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_grid(folder: Path, names: list[str], scene: synth.Scene) -> None:
    """Copies of one tile under the names of a grid: where they lie is all that is looked at."""
    folder.mkdir()
    image = next(iter(scene.images.values()))
    for name in names:
        assert cv2.imwrite(str(folder / name), image[:64, :64])


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the how-to pages speak of: a solved run, and grids."""
    folder = tmp_path_factory.mktemp("docs")
    spec = synth.GridSpec(rows=2, cols=2, tile_px=320, overlap=0.2, shift_frac=0.02)
    scene = synth.make_scene(spec, seed=3)
    synth.write_scene(scene, folder / "scene")
    write_grid(folder / "by_row_and_column", [f"tile_{r}_{c}.tif" for r in range(2) for c in range(3)], scene)
    write_grid(folder / "brackets", [f"ex[Grid@{x} {y}].jpg" for y in range(2) for x in range(3)], scene)
    write_grid(folder / "numbered", [f"LDA_{i:03d}.tif" for i in range(1, 91) if i != 17], scene)
    write_grid(folder / "one_row", [f"WJE068000{i}.jpg" for i in range(1, 9)], scene)
    demis_ij(["stitch", "scene/project.xml", "--matcher", "sift", "--out", "run", "--quiet"], folder)
    return folder


def demis_ij(arguments: list[str], folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)
    try:
        code = app(arguments, standalone_mode=False)
    finally:
        os.chdir(here)
    assert not code, f"demis-ij {' '.join(arguments)}: exit code {code}"


@pytest.mark.parametrize("page", [p for p in RUN if p.name != "tour.md"], ids=name_of)
def test_the_code_of_the_how_to_pages_runs(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = blocks(page, "python")
    if not found:
        return  # a page of commands and words; its commands are checked above
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    for code in found:
        run_code(code, page, names)


@pytest.mark.parametrize("page", [p for p in RUN if blocks(p, "py")], ids=name_of)
def test_the_programs_of_the_how_to_pages_that_need_more_are_python(page: Path) -> None:
    """Recipes for other people's packages are marked ``py``: they are not run, but they must be programs."""
    for code in blocks(page, "py"):
        compile(code, name_of(page), "exec")


def run_code(code: str, page: Path, names: dict[str, Any]) -> None:
    exec(compile(code, name_of(page), "exec"), names)


def test_the_tour_runs_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "tour.md"
    names: dict[str, Any] = {}
    for language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "python":
            run_code(text, page, names)
        elif language == "sh":
            for line in text.strip().splitlines():
                program, *arguments = shlex.split(line)
                assert program == "demis-ij"
                demis_ij([*arguments, *([] if arguments[0] == "convert" else ["--quiet"])], tmp_path)

    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "tiles_of_the_tour" / "project.demis.xml").is_file()
    assert (tmp_path / "cubic" / "mosaic.ome.zarr").is_dir()
    assert (tmp_path / "layout.json").is_file()
    assert (tmp_path / "run_of_the_grid" / "mosaic.png").is_file()


def test_the_architecture_page_says_what_import_linter_holds() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = contract["contracts"][0]["layers"]

    assert "```\n" + "\n".join(layers) + "\n```" in page
    for path in (ROOT / "demis_ij").iterdir():
        if path.name.startswith(("__", ".")) or path.name == "py.typed":
            continue
        assert re.search(rf"^\| `{path.stem}/?` \|", page, re.MULTILINE), f"the page has no room {path.stem}"


REASONS = {
    "pairs": {"estimate_pair", "disagreement", "best_within_gate", "rival", "show", "judge"},
    "stitch": {"as_exact", "warnings"},
    "runs": {"pair_json"},
}


def functions_of(room: str) -> dict[str, ast.FunctionDef]:
    """The functions of a room of the package by name, without the underscore of private ones."""
    files = [*(ROOT / "demis_ij").glob(f"{room}.py"), *(ROOT / "demis_ij").glob(f"{room}/*.py")]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    found = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name.lstrip("_"): node for node in found}


def sentences(function: ast.FunctionDef) -> list[str]:
    """The longest fixed part of every text with blanks in a function, its docstring left out."""
    documented = ast.get_docstring(function, clean=False)
    inside = {id(v) for node in ast.walk(function) if isinstance(node, ast.JoinedStr) for v in node.values}
    out = []
    for node in ast.walk(function):
        values = node.values if isinstance(node, ast.JoinedStr) else [node] if id(node) not in inside else []
        texts = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
        longest = max(texts, key=len, default="")
        if longest.strip().count(" ") >= 2 and longest != documented:
            out.append(longest.strip())
    return out


@pytest.mark.parametrize("room", REASONS)
def test_every_reason_is_explained(room: str) -> None:
    page = (ROOT / "docs" / "howto" / "failed-pairs.md").read_text(encoding="utf-8")
    functions = functions_of(room)

    assert set(functions) >= REASONS[room], "a function that gives reasons has another name now: say it here, too"
    for name in REASONS[room]:
        found = sentences(functions[name])
        assert found
        for text in found:
            assert text in page, f"{room}, {name}: {text!r} is not on the page of reasons"
