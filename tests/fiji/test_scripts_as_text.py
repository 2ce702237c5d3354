"""What must hold of the scripts before any of them runs: their place, their inputs, a Java as old as Fiji's oldest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import demis_ij
from demis_ij import fiji

MENU = fiji.scripts_folder() / fiji.MENU
SCRIPTS = sorted(MENU.glob("*.groovy"))
SOURCES = sorted([*SCRIPTS, *(MENU / "lib").glob("*.gvy")])
LEAVES = {
    "Align Sections (DEMIS)", "Check Installation (DEMIS)", "Compare With SIFT (DEMIS)", "Convert Layout (DEMIS)",
    "Register Images (DEMIS)", "Set Python Environment (DEMIS)", "Show Matches (DEMIS)", "Stitch Layout (DEMIS)",
    "Stitch TrakEM2 Project (DEMIS)", "Update Open TrakEM2 Project (DEMIS)",
}  # fmt: skip
BESIDE = {"Render Layer With TrakEM2 (DEMIS)"}
"""No command of demis_ij: it compares, and needs TrakEM2 alone."""

NEWER_THAN_JAVA_8 = {
    "collections": r"\b(List|Set|Map)\.(of|copyOf|ofEntries|entry)\(",
    "strings": r"\.(isBlank|strip|stripLeading|stripTrailing|repeat|lines|chars|indent|transform|formatted)\(\)?",
    "files": r"\b(Files\.(readString|writeString|mismatch)|Path\.of)\(",
    "streams": r"\.(readAllBytes|readNBytes|transferTo|takeWhile|dropWhile|toList)\(|\bStream\.iterate\([^,]*,[^,]*,",
    "optionals": r"\.(isEmpty\(\)\s*\?\s*Optional|ifPresentOrElse|orElseThrow\(\))",
    "processes": r"\b(ProcessHandle|Runtime\.version)\b|\.(pid|toHandle|onExit|info|descendants)\(\)",
    "http": r"java\.net\.http",
    "words of a newer language": r"^\s*(final )?var \w+|\brecord \w+\s*\(|\bsealed\b|->\s*\{?\s*yield\b",
    "switch expressions": r"^\s*case [^:{]*->",
    "Groovy 4 alone": r"\b(GINQ|GQ)\s*\{|@RecordType|@Sealed\b|\bpermits\b|\basync\b",
}
GROOVYS_OWN = re.compile(r"\.(takeWhile|dropWhile|toList)\(|\.chars\(")
"""Groovy adds these to every collection and text, whichever Java."""


def name_of(path: Path) -> str:
    return path.name


def code_of(path: Path) -> str:
    """Return a source without comments and texts: what is said in them is no code."""
    text = path.read_text(encoding="ascii")
    text = re.sub(r"/\*.*?\*/|^//.*?$|^#@.*?$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', '""', text)


def test_the_menu_has_these_entries_and_no_other() -> None:
    leaves = [p.stem.replace("_", " ") for p in SCRIPTS]

    assert set(leaves) == LEAVES | BESIDE
    assert len(set(leaves)) == len(leaves)
    assert all("_" in p.name for p in SCRIPTS)  # without it the classic menu shows nothing
    assert not [p for p in (MENU / "lib").iterdir() if p.suffix != ".gvy"]  # what .groovy lies there, the menu shows
    assert MENU.relative_to(fiji.scripts_folder()).as_posix() == "Plugins/DEMIS"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_script_is_plain_ascii_that_the_updater_delivers(path: Path) -> None:
    path.read_text(encoding="ascii")  # whichever encoding a Java reads it by
    assert path.suffix in {".groovy", ".gvy"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_script_asks_for_no_newer_java_than_8(path: Path) -> None:
    code = code_of(path)
    for what, pattern in NEWER_THAN_JAVA_8.items():
        found = [m[0] for m in re.finditer(pattern, code, re.MULTILINE) if not GROOVYS_OWN.match(m[0])]
        assert not found, f"{path.name}: {what}: {found}"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("def x = List.of(1)", "collections"),
        ("if (text.isBlank()) x()", "strings"),
        ("def t = Files.readString(p)", "files"),
        ("def b = stream.readAllBytes()", "streams"),
        ("long n = process.pid()", "processes"),
        ("var x = 3", "words of a newer language"),
        ("    case 1 -> 'one'", "switch expressions"),
    ],
)
def test_the_scan_finds_what_is_newer(line: str, what: str) -> None:
    assert re.search(NEWER_THAN_JAVA_8[what], line, re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_text_of_several_lines_holds_a_line_that_scijava_takes_for_an_input(path: Path) -> None:
    text = path.read_text(encoding="ascii")

    head, _, body = text.partition("\n\n")
    assert not re.findall(r"^#@", body, re.MULTILINE), path.name
    assert '"""' not in head


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_the_inputs_of_a_script_follow_the_rules(path: Path) -> None:
    head = path.read_text(encoding="ascii").partition("\n\n")[0]
    lines = [line for line in head.splitlines() if line.startswith("#@") and not line.startswith("#@script")]

    assert "headless=true" in head.splitlines()[0]
    assert f'label="{path.stem.replace("_", " ")}"' in head.splitlines()[0]
    assert "menuPath" not in head
    assert "#@output String result" in lines
    for line in lines:
        kind, name = re.match(r"#@(?:output)?\s*([\w.\[\]]+)", line)[1], line.split()[-1]
        if line.startswith("#@output") or kind in {"Context", "TaskService", "LogService", "UIService"}:
            continue
        assert "persist=false" in line, f"{name}: what was typed last time comes back unasked, even headless"
        if kind == "Boolean":
            assert "value=" in line, f"{name}: a Boolean without a value counts as missing"
        if kind == "String" and "required=false" not in line:
            assert "value=" in line, f"{name}: comes as null when it is left out"


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_with_an_optional_file_has_another_open_input(path: Path) -> None:
    files = [line for line in path.read_text(encoding="ascii").splitlines() if line.startswith("#@ File")]
    if any("required=false" in line for line in files):
        assert re.search(
            r"^#@ String \(visibility=INVISIBLE.*\) unused$", path.read_text(encoding="ascii"), re.MULTILINE
        )


def test_the_scripts_say_the_version_of_the_package() -> None:
    said = re.search(r'VERSION = "(.*)"', (MENU / "lib" / "Command.gvy").read_text(encoding="ascii"))

    assert said is not None
    assert said[1] == demis_ij.__version__
