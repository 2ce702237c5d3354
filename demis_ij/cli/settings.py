"""Options that commands share, and the settings that they come to."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.config import (
    MATCHER_CHOICES,
    SOLVER_CHOICES,
    RenderConfig,
    StitchConfig,
    from_dict,
    read_toml,
    to_dict,
)
from demis_ij.errors import InputError
from demis_ij.geometry import MODELS

Out_ = Annotated[Path, typer.Option("--out", help="Run folder: new, empty, or one to go on with.")]
Matcher_ = Annotated[str | None, typer.Option("--matcher", help=f"{', '.join(MATCHER_CHOICES)} (default auto).")]
Model_ = Annotated[
    str | None, typer.Option("--model", help=f"What a tile may do: {', '.join(MODELS)} (default rigid).")
]
Solver_ = Annotated[str | None, typer.Option("--solver", help=f"{', '.join(SOLVER_CHOICES)} (default sparse).")]
Weights_ = Annotated[
    str | None, typer.Option("--weights", help="LoFTR weights: shipped, a checkpoint, outdoor or indoor_new.")
]
Device_ = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Config_ = Annotated[Path | None, typer.Option("--config", help="TOML with tables [stitch] and [render].")]
Set_ = Annotated[list[str] | None, typer.Option("--set", help="One setting, e.g. --set max_error_px=6. Repeatable.")]
Mosaic_ = Annotated[
    list[str] | None,
    typer.Option("--mosaic", help="ome-tiff, ome-zarr, png, imagej or none. Repeatable (default ome-tiff, png)."),
]
Section_ = Annotated[list[str] | None, typer.Option("--section", help="Only this section. Repeatable.")]
Json_ = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")]
Quiet_ = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Strict_ = Annotated[bool, typer.Option("--strict", help="Exit with 3 when there is any warning.")]


def configs(
    config: Path | None,
    settings: list[str] | None,
    mosaic: list[str] | None,
    before: tuple[StitchConfig, RenderConfig] | None = None,
    **named: Any,
) -> tuple[StitchConfig, RenderConfig]:
    """Return the configs: defaults (or ``before``), then the TOML file, then ``--set``, then the named options."""
    tables = read_toml(config) if config else {}
    unknown = set(tables) - {"stitch", "render"}
    if unknown:
        msg = f"{config}: unknown table [{sorted(unknown)[0]}]; known: [stitch], [render]"
        raise InputError(msg)
    wrong = next((name for name, table in tables.items() if not isinstance(table, dict)), None)
    if wrong:
        msg = f"{config}: {wrong} is {tables[wrong]!r}, needed a table [{wrong}]"
        raise InputError(msg)
    defaults = {"stitch": to_dict(StitchConfig()), "render": to_dict(RenderConfig())}
    given = {} if before is None else {"stitch": to_dict(before[0]), "render": to_dict(before[1])}
    values = {name: {**given.get(name, {}), **tables.get(name, {})} for name in defaults}
    for item in settings or []:
        key, equals, text = item.partition("=")
        if not equals:
            msg = f"--set {item}: needed NAME=VALUE"
            raise InputError(msg)
        table = _table_of(key.strip(), defaults)
        values[table][key.strip()] = _value(text, defaults[table][key.strip()])
    values["stitch"] |= {k: v for k, v in named.items() if v is not None}
    if mosaic:
        values["render"]["formats"] = () if mosaic == ["none"] else tuple(mosaic)
    return from_dict(StitchConfig, values["stitch"]), from_dict(RenderConfig, values["render"])


def _table_of(key: str, defaults: dict[str, dict[str, Any]]) -> str:
    """Return the table that holds a setting. Raises `InputError` with the nearest name."""
    for table, known in defaults.items():
        if key in known:
            return table
    names = [name for known in defaults.values() for name in known]
    raise unknown_setting(key, names)


def unknown_setting(key: str, known: Sequence[str]) -> InputError:
    """Return the refusal of a setting that is not known, with the nearest name."""
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return InputError(f"--set {key}: unknown setting; {hint}")


def _value(text: str, default: Any) -> Any:
    """Return a setting's value from its text: as it stands where text is needed, else as JSON (and TOML) write it."""
    if isinstance(default, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.split(",") if isinstance(default, tuple) else text


__all__ = [
    "Config_",
    "Device_",
    "Json_",
    "Matcher_",
    "Model_",
    "Mosaic_",
    "Out_",
    "Quiet_",
    "Section_",
    "Set_",
    "Solver_",
    "Strict_",
    "Weights_",
    "configs",
]
