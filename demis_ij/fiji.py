"""The scripts of the Fiji menu: where they are, and copying them below a Fiji, with the Python they use.

What is copied is written down with its SHA-256 in ``demis_ij_files.json`` beside it. Only what is written down there
and has not been changed since is ever replaced or removed: everything else is the user's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from demis_ij import __version__
from demis_ij.errors import FormatError, InputError

MENU = Path("Plugins") / "DEMIS"
MANIFEST = "demis_ij_files.json"
PROPERTIES = "demis_ij.properties"
SUFFIXES = (".groovy", ".gvy")
NAMES_INSIDE = ("Fiji.app", "Fiji", "ImageJ.app")
ANSWER_S = 120
ASK = "import demis_ij; print(demis_ij.__version__)"

ADD, REPLACE, SAME, REMOVE, LEAVE = "add", "replace", "same", "remove", "leave"


@dataclass(frozen=True)
class Step:
    """What happens to one file.

    Attributes
    ----------
    path : Path
        The file.
    what : str
        add, replace, same (nothing to do), remove or leave.
    why : str
        Why it is left; empty else.
    """

    path: Path
    what: str
    why: str = ""


@dataclass(frozen=True)
class Changes:
    """What an installation or its removal did, or would do.

    Attributes
    ----------
    fiji, folder : Path
        The Fiji, and its folder of our scripts.
    steps : tuple of Step
        One a file, in the order of their names.
    python : Path or None
        The Python that was stored.
    """

    fiji: Path
    folder: Path
    steps: tuple[Step, ...]
    python: Path | None = None

    def count(self, what: str) -> int:
        """Return how many files that happens to."""
        return sum(s.what == what for s in self.steps)

    @property
    def left(self) -> tuple[Step, ...]:
        """The files that are the user's."""
        return tuple(s for s in self.steps if s.what == LEAVE)


@dataclass(frozen=True)
class Status:
    """What is below a Fiji.

    Attributes
    ----------
    fiji : Path
    version : str
        Of the scripts; empty when none are installed.
    python, stored : str
        The Python that its menu uses, and since when; empty when none is stored there.
    changed, missing : tuple of Path
        Files that are not as they were installed.
    """

    fiji: Path
    version: str
    python: str
    stored: str
    changed: tuple[Path, ...]
    missing: tuple[Path, ...]


def scripts_folder() -> Path:
    """Return the tree that belongs below a Fiji's ``scripts``: of the installed package, or of a checkout.

    Raises
    ------
    InputError
        When this installation lacks it.
    """
    here = Path(__file__).resolve().parent
    places = (here / "fiji_scripts", here.parent / "fiji_scripts")
    found = next((p for p in places if (p / MENU / "lib").is_dir()), None)
    if found is None:
        msg = f"this demis_ij lacks the scripts of the Fiji menu (looked in {places[0]}): install it again"
        raise InputError(msg)
    return found


def find_fiji(path: Path) -> Path:
    """Return the folder of a Fiji, also when it is inside the one given, or around it (an app of macOS).

    Raises
    ------
    InputError
        When there is no Fiji.
    """
    path = path.expanduser().absolute()
    if not path.is_dir():
        msg = f"{path}: there is no such folder; needed the folder of a Fiji"
        raise InputError(msg)
    places = [path, *(path / name for name in NAMES_INSIDE), *([path.parent] if path.suffix == ".app" else [])]
    found = next((p for p in places if _is_fiji(p)), None)
    if found is not None:
        return found
    plain = " (this looks like ImageJ without Fiji, which has no scripts)" if (path / "ij.jar").is_file() else ""
    msg = f"{path}: this is not the folder of a Fiji{plain}; needed one that holds jars/ and plugins/ or scripts/"
    raise InputError(msg)


def _is_fiji(path: Path) -> bool:
    return (path / "jars").is_dir() and any((path / name).is_dir() for name in ("plugins", "scripts"))


def install(path: Path, *, python: Path | None = None, dry_run: bool = False) -> Changes:
    """Copy the scripts below a Fiji and store the Python they use; a second time brings them up to date.

    Parameters
    ----------
    path : Path
        The folder of a Fiji.
    python : Path, optional
        An interpreter, or the folder of an environment, that has demis_ij; by default the Python that runs this.
    dry_run : bool
        Write nothing.

    Raises
    ------
    InputError
        No Fiji, a Python without demis_ij, or a folder that cannot be written.
    """
    fiji = find_fiji(path)
    interpreter = Path(sys.executable) if python is None else checked_python(python)
    folder = _folder(fiji)
    shipped = dict(_shipped())
    written = _manifest(folder)
    steps = _install_steps(folder, shipped, written)
    if not dry_run:
        with _writable(folder):
            _write(folder, steps, shipped, written)
            _replace(folder / PROPERTIES, _properties(interpreter))
    return Changes(fiji, folder, steps, interpreter)


def uninstall(path: Path, *, dry_run: bool = False) -> Changes:
    """Remove what `install` copied, and the stored Python; what the user has changed stays.

    Raises
    ------
    InputError
        No Fiji, nothing installed there, or a folder that cannot be written.
    """
    fiji = find_fiji(path)
    folder = _folder(fiji)
    written = _manifest(folder)
    if not written and not (folder / PROPERTIES).is_file():
        msg = f"{fiji}: 'demis-ij fiji install' has put nothing there (no {MENU.as_posix()}/{MANIFEST})"
        raise InputError(msg)
    steps = [s for name in written if (s := _removal(folder, name, written[name])) is not None]
    ours = [Step(p, REMOVE) for p in (folder / PROPERTIES, folder / MANIFEST) if p.is_file()]
    changes = Changes(fiji, folder, (*steps, *ours))
    if not dry_run:
        with _writable(folder):
            for step in changes.steps:
                if step.what == REMOVE:
                    step.path.unlink()
            _remove_empty(folder)
    return changes


def status(path: Path) -> Status:
    """Return what is installed below a Fiji."""
    fiji = find_fiji(path)
    folder = _folder(fiji)
    written = _manifest(folder)
    version = _read_manifest(folder).get("version", "") if written else ""
    changed = tuple(
        folder / n for n, digest in written.items() if (folder / n).is_file() and _digest(folder / n) != digest
    )
    missing = tuple(folder / n for n in written if not (folder / n).is_file())
    values = _read_properties(folder / PROPERTIES)
    return Status(fiji, str(version), values.get("python", ""), values.get("stored", ""), changed, missing)


def checked_python(path: Path) -> Path:
    """Return the interpreter that a path means, after it has said that it has demis_ij of this version.

    Raises
    ------
    InputError
        When it is none, or its demis_ij is another.
    """
    path = path.expanduser().absolute()
    inside = ("python.exe", "Scripts/python.exe") if os.name == "nt" else ("bin/python", "bin/python3")
    python = next((path / n for n in inside if (path / n).is_file()), path) if path.is_dir() else path
    if not python.is_file():
        msg = f"--python {path}: there is no Python; needed an interpreter or the folder of an environment"
        raise InputError(msg)
    try:
        done = subprocess.run(
            [python, "-c", ASK],
            capture_output=True,
            text=True,
            timeout=ANSWER_S,
            check=False,
            cwd=Path.home(),  # what lies in the folder of the moment is not what Fiji would find
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"--python {python}: it does not run as a Python does: {error}"
        raise InputError(msg) from error
    found = done.stdout.strip()
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        msg = f"--python {python}: it cannot load demis_ij ({last}): run '{python} -m pip install demis_ij' first"
        raise InputError(msg)
    if found != __version__:
        msg = f"--python {python}: it has demis_ij {found}, these scripts are of {__version__}: bring it up to date"
        raise InputError(msg)
    return python


def _folder(fiji: Path) -> Path:
    return fiji / "scripts" / MENU


def _shipped() -> Iterator[tuple[str, bytes]]:
    """Yield each script as (name below the menu's folder, bytes), sorted."""
    menu = scripts_folder() / MENU
    for file in sorted(p for p in menu.rglob("*") if p.suffix in SUFFIXES):
        yield file.relative_to(menu).as_posix(), file.read_bytes()


def _install_steps(folder: Path, shipped: Mapping[str, bytes], written: Mapping[str, str]) -> tuple[Step, ...]:
    steps = []
    for name, content in shipped.items():
        target = folder / name
        if not (target.exists() or target.is_symlink()):
            steps.append(Step(target, ADD))
        elif target.is_file() and target.read_bytes() == content:
            steps.append(Step(target, SAME))
        elif target.is_file() and _digest(target) == written.get(name):
            steps.append(Step(target, REPLACE))
        else:
            whose = "was changed since it was installed" if name in written else "was not written by demis-ij"
            steps.append(Step(target, LEAVE, f"{whose}: rename it and install again to get the new one"))
    gone = [n for n in written if n not in shipped]
    return (*steps, *(s for n in gone if (s := _removal(folder, n, written[n])) is not None))


def _removal(folder: Path, name: str, digest: str) -> Step | None:
    """Return what happens to an installed file that is to go; None when it is gone already."""
    target = folder / name
    if not target.is_file():
        return None
    if _digest(target) == digest:
        return Step(target, REMOVE)
    return Step(target, LEAVE, "was changed since it was installed")


def _write(folder: Path, steps: tuple[Step, ...], shipped: Mapping[str, bytes], written: Mapping[str, str]) -> None:
    for step in steps:
        if step.what in {ADD, REPLACE}:
            step.path.parent.mkdir(parents=True, exist_ok=True)
            _replace(step.path, shipped[step.path.relative_to(folder).as_posix()])
        elif step.what == REMOVE:
            step.path.unlink()
    names = {s.path.relative_to(folder).as_posix(): s for s in steps if s.what != REMOVE}
    kept = {n: written[n] for n, s in names.items() if s.what == LEAVE and n in written}
    ours = {n: hashlib.sha256(shipped[n]).hexdigest() for n, s in names.items() if s.what != LEAVE}
    facts = {"version": __version__, "files": dict(sorted({**kept, **ours}.items()))}
    _replace(folder / MANIFEST, json.dumps(facts, indent=1).encode())


def _replace(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_bytes(content)
    fresh.replace(path)


def _remove_empty(folder: Path) -> None:
    """Remove our folders when nothing is left in them; ``scripts`` stays."""
    for place in (folder / "lib", folder, folder.parent):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Say in one line when a folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        msg = f"{error.filename or folder}: cannot be written ({error.strerror}): do this as the owner of that Fiji"
        raise InputError(msg) from error
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        msg = f"{folder}: is on a disk that can only be read: use a Fiji of your own"
        raise InputError(msg) from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _manifest(folder: Path) -> dict[str, str]:
    """Return what is written down as ours: name to SHA-256."""
    files = _read_manifest(folder).get("files", {})
    if not isinstance(files, dict):
        raise FormatError(folder / MANIFEST, "needed a table of files: remove it and install again")
    return {str(k): str(v) for k, v in files.items() if not Path(k).is_absolute() and ".." not in Path(k).parts}


def _read_manifest(folder: Path) -> dict[str, object]:
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FormatError(path, f"not JSON ({error}): remove it and install again") from error
    return facts if isinstance(facts, dict) else {}


def _properties(python: Path) -> bytes:
    """Return a Python as Java's `Properties` are written: ASCII, backslashes doubled."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"# The Python that the DEMIS commands use\npython={_escaped(str(python))}\nstored={now}\n".encode("ascii")


def _escaped(text: str) -> str:
    units = text.replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[k : k + 2]) for k in range(0, len(units), 2)]
    return "".join(chr(c) if 0x20 <= c < 0x7F else f"\\u{c:04x}" for c in codes)


def _read_properties(path: Path) -> dict[str, str]:
    """Return the values of a file of Java's `Properties`, as simple as ours are."""
    if not path.is_file():
        return {}
    lines = [line.strip() for line in path.read_text(encoding="latin-1").splitlines()]
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith(("#", "!"))]
    return {key.strip(): _unescaped(value.strip()) for key, _, value in pairs}


def _unescaped(text: str) -> str:
    out, k = bytearray(), 0
    while k < len(text):
        if text[k] == "\\" and text[k + 1 : k + 2] == "u":
            out += int(text[k + 2 : k + 6], 16).to_bytes(2)
            k += 6
            continue
        k += text[k] == "\\"
        out += text[k : k + 1].encode("utf-16-be")
        k += 1
    return out.decode("utf-16-be")


__all__ = [
    "Changes", "Status", "Step", "checked_python", "find_fiji", "install", "scripts_folder", "status", "uninstall",
]  # fmt: skip
