"""The run folder of a network that is trained: what may be in it, and the settings that it was begun with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from demis_ij.config.reading import from_dict
from demis_ij.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    T = TypeVar("T", bound=DataclassInstance)

CHECKPOINT = "checkpoint.pt"


def prepare_run(out: Path, own: Sequence[str], *, as_it_stands: bool) -> None:
    """Make a run folder, or make sure that it is one.

    Parameters
    ----------
    out : Path
    own : sequence of str
        Names of which a run has one or more.
    as_it_stands : bool
        Whether weights are to be made of its checkpoint.

    Raises
    ------
    InputError
        When it is a file, holds something else, or has no checkpoint where one is needed.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in own)):
        msg = f"--out {out} is a file, or a folder that holds something else: choose another"
        raise InputError(msg)
    if as_it_stands and not (out / CHECKPOINT).is_file():
        msg = f"{out} holds no checkpoint to make weights of: train first"
        raise InputError(msg)
    out.mkdir(parents=True, exist_ok=True)


def settings_begun_with(kind: type[T], path: Path, changed: dict[str, Any]) -> T:
    """Return the settings in a file with some changed; the defaults with them when there is no file.

    Raises
    ------
    InputError
        When the file cannot be read, or a name or value is wrong.
    """
    if not path.is_file():
        return from_dict(kind, changed)
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as the settings of a training; delete it to begin anew"
        raise InputError(msg) from error
    if not isinstance(before, dict):
        msg = f"{path} holds no settings of a training; delete it to begin anew"
        raise InputError(msg)
    from_dict(kind, changed)  # unknown names are refused with the nearest one
    return replace(from_dict(kind, before), **changed)


__all__ = ["CHECKPOINT", "prepare_run", "settings_begun_with"]
