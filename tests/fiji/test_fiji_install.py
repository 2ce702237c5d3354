"""``demis-ij fiji``: what is copied below a Fiji, what is left alone, and how it is taken out again."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import demis_ij
from demis_ij import fiji
from demis_ij.cli.app import app
from demis_ij.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def called(*words: object) -> int:
    return app(["fiji", *map(str, words)], standalone_mode=False) or 0


def menu_of(home: Path) -> Path:
    return home / "scripts" / fiji.MENU


def test_the_scripts_are_copied_and_the_python_is_stored(empty_fiji: Path) -> None:
    changes = fiji.install(empty_fiji)

    shipped = bytes_below(fiji.scripts_folder() / fiji.MENU)
    found = bytes_below(menu_of(empty_fiji))
    assert {k: v for k, v in found.items() if k in shipped} == shipped
    assert set(found) - set(shipped) == {fiji.MANIFEST, fiji.PROPERTIES}
    assert changes.count(fiji.ADD) == len(shipped)
    state = fiji.status(empty_fiji)
    assert (state.version, state.python) == (demis_ij.__version__, sys.executable)
    assert not state.changed
    assert not state.missing


@pytest.mark.parametrize("name", ["Fiji.app", "Fiji"])
def test_a_fiji_inside_the_folder_is_found(tmp_path: Path, name: str) -> None:
    (tmp_path / name / "jars").mkdir(parents=True)
    (tmp_path / name / "scripts").mkdir()

    assert fiji.install(tmp_path).fiji == tmp_path / name


def test_the_app_of_macos_stands_for_the_folder_around_it(empty_fiji: Path) -> None:
    (empty_fiji / "Fiji.app" / "Contents").mkdir(parents=True)

    assert fiji.install(empty_fiji / "Fiji.app").fiji == empty_fiji


def test_what_is_no_fiji_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "ij.jar").write_bytes(b"")

    with pytest.raises(InputError, match=r"is not the folder of a Fiji .*looks like ImageJ without Fiji.*jars/"):
        fiji.install(tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        fiji.install(tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["ij.jar"]


def test_a_dry_run_writes_nothing(empty_fiji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called("install", empty_fiji, "--dry-run")

    said = capsys.readouterr().out
    assert "Stitch_Layout_(DEMIS).groovy" in said
    assert "dry run: nothing was written" in said
    assert not (empty_fiji / "scripts").exists()


def test_a_second_install_brings_old_files_up_to_date_and_removes_what_is_no_longer_shipped(empty_fiji: Path) -> None:
    fiji.install(empty_fiji)
    menu = menu_of(empty_fiji)
    pretend_older(menu, "lib/Worker.gvy", b"an older one")
    pretend_older(menu, "Gone_(DEMIS).groovy", b"of an older version")

    changes = fiji.install(empty_fiji)

    assert (menu / "lib" / "Worker.gvy").read_bytes() == (
        fiji.scripts_folder() / fiji.MENU / "lib/Worker.gvy"
    ).read_bytes()
    assert not (menu / "Gone_(DEMIS).groovy").exists()
    assert (changes.count(fiji.REPLACE), changes.count(fiji.REMOVE), changes.count(fiji.ADD)) == (1, 1, 0)
    assert not fiji.status(empty_fiji).changed


def pretend_older(menu: Path, name: str, content: bytes) -> None:
    """Make a file one that an earlier version installed."""
    (menu / name).write_bytes(content)
    facts = json.loads((menu / fiji.MANIFEST).read_text(encoding="utf-8"))
    facts["files"][name] = hashlib.sha256(content).hexdigest()
    (menu / fiji.MANIFEST).write_text(json.dumps(facts), encoding="utf-8")


def test_what_the_user_wrote_or_changed_is_left_and_named(empty_fiji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    menu = menu_of(empty_fiji)
    (menu / "lib").mkdir(parents=True)
    own = menu / "Stitch_Layout_(DEMIS).groovy"
    own.write_text("// mine\n", encoding="utf-8")
    (menu / "Another_.ijm").write_text("// mine, too\n", encoding="utf-8")
    called("install", empty_fiji)
    changed = menu / "lib" / "Results.gvy"
    changed.write_text("// my colours\n", encoding="utf-8")
    capsys.readouterr()

    called("install", empty_fiji)

    said = capsys.readouterr().err
    assert f"left as it is: {own} was not written by demis-ij" in said
    assert f"left as it is: {changed} was changed since it was installed" in said
    assert own.read_text(encoding="utf-8") == "// mine\n"
    assert changed.read_text(encoding="utf-8") == "// my colours\n"
    assert fiji.status(empty_fiji).changed == (changed,)
    called("uninstall", empty_fiji)
    assert bytes_below(menu) == {
        "Stitch_Layout_(DEMIS).groovy": b"// mine\n",
        "Another_.ijm": b"// mine, too\n",
        "lib/Results.gvy": b"// my colours\n",
    }


def test_uninstall_leaves_the_fiji_as_it_was(empty_fiji: Path) -> None:
    (empty_fiji / "scripts" / "Plugins").mkdir(parents=True)
    (empty_fiji / "scripts" / "Plugins" / "Mine_.groovy").write_text("// mine\n", encoding="utf-8")
    before = bytes_below(empty_fiji)
    fiji.install(empty_fiji)

    dry = fiji.uninstall(empty_fiji, dry_run=True)
    assert dry.count(fiji.REMOVE) > 10
    assert fiji.status(empty_fiji).version
    fiji.uninstall(empty_fiji)

    assert bytes_below(empty_fiji) == before
    assert not menu_of(empty_fiji).exists()
    with pytest.raises(InputError, match="has put nothing there"):
        fiji.uninstall(empty_fiji)


def test_a_manifest_that_points_elsewhere_removes_nothing(empty_fiji: Path) -> None:
    fiji.install(empty_fiji)
    precious = empty_fiji / "precious.groovy"
    precious.write_bytes(b"x")
    manifest = menu_of(empty_fiji) / fiji.MANIFEST
    digest = hashlib.sha256(b"x").hexdigest()
    manifest.write_text(json.dumps({"files": {"../../../precious.groovy": digest, str(precious): digest}}))

    fiji.uninstall(empty_fiji)

    assert precious.is_file()


def test_a_damaged_manifest_is_named(empty_fiji: Path) -> None:
    fiji.install(empty_fiji)
    (menu_of(empty_fiji) / fiji.MANIFEST).write_text("{", encoding="utf-8")

    with pytest.raises(InputError, match=r"demis_ij_files\.json: not JSON"):
        fiji.install(empty_fiji)


@pytest.mark.parametrize(
    ("code", "words"), [(errno.EACCES, "as the owner of that Fiji"), (errno.EROFS, "only be read")]
)
def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    empty_fiji: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(code, "no", str(path))

    monkeypatch.setattr(Path, "write_bytes", refuse)

    with pytest.raises(InputError, match=words):
        fiji.install(empty_fiji)


def test_a_file_where_the_folder_should_be_is_named(empty_fiji: Path) -> None:
    (empty_fiji / "scripts" / "Plugins").mkdir(parents=True)
    (empty_fiji / "scripts" / "Plugins" / "DEMIS").write_bytes(b"")

    with pytest.raises(InputError, match="DEMIS: cannot be written"):
        fiji.install(empty_fiji)


def test_a_python_without_demis_ij_is_not_stored(empty_fiji: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no Python"):
        fiji.install(empty_fiji, python=tmp_path / "none")
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    with pytest.raises(InputError, match=r"cannot load demis_ij \(ModuleNotFoundError.*pip install demis_ij"):
        fiji.install(empty_fiji, python=environment)
    assert not (empty_fiji / "scripts").exists()


@pytest.mark.parametrize("python", ["C:\\Users\\Jürgen\\envs\\em 1\\python.exe", "/home/µ=#!:/😀/python"])
def test_a_stored_python_comes_back_as_it_was(empty_fiji: Path, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    monkeypatch.setattr(sys, "executable", python)
    fiji.install(empty_fiji)

    stored = (menu_of(empty_fiji) / fiji.PROPERTIES).read_bytes()
    assert stored.isascii()
    assert fiji.status(empty_fiji).python == python


def test_the_commands_say_what_they_did(empty_fiji: Path, capsys: pytest.CaptureFixture[str]) -> None:
    called("install", empty_fiji)
    assert "Check Installation" in capsys.readouterr().out
    called("status", empty_fiji)
    assert f"scripts of demis_ij {demis_ij.__version__}" in capsys.readouterr().out
    called("where")
    assert capsys.readouterr().out.strip() == str(fiji.scripts_folder())
    called("uninstall", empty_fiji)
    assert "removed" in capsys.readouterr().out


def test_the_scripts_are_in_the_wheel_and_install_from_there(tmp_path: Path, empty_fiji: Path) -> None:
    """Built without network from a copy of the checkout, with the setuptools of this environment."""
    pytest.importorskip("setuptools", reason="a wheel is built with the setuptools of the environment, which has none")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "demis_ij", source / "demis_ij", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "fiji_scripts", source / "fiji_scripts")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(next(source.glob("*.whl"))) as wheel:
        wheel.extractall(unpacked)

    code = "import sys; from pathlib import Path; from demis_ij import fiji; fiji.install(Path(sys.argv[1]))"
    subprocess.run(
        [sys.executable, "-P", "-c", code, empty_fiji], check=True, env={"PYTHONPATH": str(unpacked)}, cwd=tmp_path
    )

    assert bytes_below(unpacked / "demis_ij" / "fiji_scripts") == bytes_below(ROOT / "fiji_scripts")
    assert (menu_of(empty_fiji) / "lib" / "Worker.gvy").is_file()
