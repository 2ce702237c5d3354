"""One command that makes its own environment: ``python start.py demo`` or ``python start.py test``.

Needs Python 3.11 or newer and pip, nothing else; works on Linux, macOS and Windows. Everything goes into ``.venv``
beside this file. ``python start.py run ARGUMENTS`` is ``demis-ij ARGUMENTS`` in that environment.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("pytest",),
)


def run(*command: object, check: bool = True) -> int:
    """Run a command in the project's folder; stop with its exit code when it fails."""
    code = subprocess.call([str(c) for c in command], cwd=HERE)
    if check and code:
        sys.exit(code)
    return code


def make_environment() -> None:
    """Make ``.venv``, also where the system's Python lacks ensurepip (Debian without python3-venv)."""
    if PYTHON.is_file():
        return
    print("demis_ij: making the environment .venv", flush=True)
    if run(sys.executable, "-m", "venv", VENV, check=False):
        run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV)


def pip(*arguments: str, check: bool = True) -> int:
    """Run the environment's pip, or the system's on its behalf."""
    own = subprocess.call([str(PYTHON), "-m", "pip", "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if own == 0:
        return run(PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments, check=check)
    return run(sys.executable, "-m", "pip", "--python", PYTHON, "--disable-pip-version-check", *arguments, check=check)


def install(extra: str, *, cpu: bool) -> None:
    """Install the package with an extra, once for each state of ``pyproject.toml``."""
    stamp = VENV / f".installed-{extra or 'plain'}"
    state = hashlib.sha256((HERE / "pyproject.toml").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return
    print("demis_ij: installing (the first time takes some minutes)", flush=True)
    if cpu:
        # torchvision must be of the same kind as torch
        both = ("torch", "torchvision") if extra == "test" else ("torch",)
        pip("install", "--quiet", *both, "--index-url", CPU_TORCH)
    pip("install", "--quiet", "--editable", f"{HERE}[{extra}]" if extra else str(HERE))
    if extra == "test" and pip("install", "--quiet", "brisque>=0.2", check=False):
        print("demis_ij: no C++ compiler for brisque's libsvm: the tests of BRISQUE will be skipped", flush=True)
    stamp.write_text(state, encoding="utf-8")


def main() -> None:
    """Do what the first argument says."""
    arguments = sys.argv[1:]
    cpu = "--cpu" in arguments[:2]
    if cpu:
        arguments.remove("--cpu")
    what = arguments[0] if arguments else ""
    if sys.version_info < (3, 11):
        sys.exit(f"demis_ij needs Python 3.11 or newer, this is {sys.version.split()[0]}")
    if what not in {"demo", "test", "run"}:
        sys.exit(
            "usage: python start.py [--cpu] demo|test|run ARGUMENTS\n"
            "  demo   stitch a made-up section by LoFTR and by SIFT, and compare with the truth\n"
            "  test   lint, types, layers and tests\n"
            "  run    demis-ij ARGUMENTS\n"
            "  --cpu  first time only: PyTorch without CUDA (a small download)"
        )
    make_environment()
    install("test" if what == "test" else "", cpu=cpu)
    if what == "test":
        for module, *rest in CHECKS:
            if module == "lint-imports":
                script = PYTHON.parent / ("lint-imports.exe" if os.name == "nt" else "lint-imports")
                run(script)
            else:
                run(PYTHON, "-m", module, *rest, *(arguments[1:] if module == "pytest" else ()))
    else:
        # in the folder the user stands in: relative paths are meant from there
        verb = ["demo"] if what == "demo" else []
        sys.exit(subprocess.call([str(PYTHON), "-m", "demis_ij", *verb, *arguments[1:]]))


if __name__ == "__main__":
    main()
