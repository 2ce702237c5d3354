"""What can go wrong, as a tree.

::

    DemisError
    ├── InputError (also ValueError)   the user gave something that cannot be used; exit code 2
    │   ├── FormatError                a file is not what its name says; path, line or element
    │   └── MissingPart                an optional package is needed; names the extra to install
    ├── SolveError                     a solver could not finish
    └── WeightsError                   weights are missing, damaged or of another shape

A single pair or tile that fails is not an error: it is a value (`demis_ij.records.Rejected`, a warning line).
"""

from __future__ import annotations

from pathlib import Path


class DemisError(Exception):
    """Base of every error that demis_ij raises on purpose."""


class InputError(DemisError, ValueError):
    """Something the user gave cannot be used. The message says what was found and what is needed."""


class FormatError(InputError):
    """A file cannot be read as what it should be.

    Parameters
    ----------
    path : Path or str
        The file.
    problem : str
        What was found and what was needed.
    where : str, optional
        The line ("line 12") or element ("t2_patch oid=7").
    """

    def __init__(self, path: Path | str, problem: str, where: str = "") -> None:
        self.path = Path(path)
        self.problem = problem
        self.where = where
        super().__init__(f"{path}: {where + ': ' if where else ''}{problem}")

    def __reduce__(self) -> tuple[type[FormatError], tuple[Path, str, str], dict[str, object]]:
        return type(self), (self.path, self.problem, self.where), self.__dict__


class MissingPart(InputError):
    """An optional package is not installed.

    Parameters
    ----------
    package : str
        The package that is missing.
    extra : str
        The extra of demis_ij that brings it; empty for a package that every installation needs.
    """

    def __init__(self, package: str, extra: str = "") -> None:
        what = f"'demis_ij[{extra}]'" if extra else package
        super().__init__(f"{package} is not installed: pip install {what}")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingPart], tuple[str, str], dict[str, object]]:
        return type(self), (self.package, self.extra), self.__dict__


class SolveError(DemisError):
    """A solver could not finish."""


class WeightsError(DemisError):
    """Weights are missing, damaged or do not fit the network."""
