"""What pyproject.toml cannot say: the scripts of the Fiji menu lie outside the package and belong in the wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithScripts(build_py):
    """Copy ``fiji_scripts`` into the package that is built; an editable installation finds it in the checkout."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "demis_ij" / "fiji_scripts"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree("fiji_scripts", target, ignore=shutil.ignore_patterns("*.properties", "*.json", "__pycache__"))


setup(cmdclass={"build_py": WithScripts})
