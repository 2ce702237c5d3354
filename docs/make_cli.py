"""Write what the documentation takes from elsewhere, between ``<!-- generated: NAME -->`` and ``<!-- end -->``.

    python docs/make_cli.py

``docs/cli.md`` and the tables of ``docs/howto/config.md`` and ``train.md`` come from the code, those of measured
accuracy in ``README.md`` and ``docs/matching.md`` from ``benchmarks/ledger``. A test holds that they are up to date.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo

from demis_ij.cli.app import app
from demis_ij.config import (
    ArchitectureConfig,
    GridsConfig,
    RenderConfig,
    StitchConfig,
    TrainConfig,
    TrainDataConfig,
    ValidationConfig,
)
from demis_ij.config.autoencoder import AutoencoderConfig
from demis_ij.config.registering import RegisterConfig
from demis_ij.config.ssemnet import SsemnetConfig
from demis_ij.config.style import StyleConfig
from demis_ij.config.two_headed import TwoHeadedConfig
from demis_ij.train.samples import SampleSpec

DOCS = Path(__file__).resolve().parent
LEDGERS = DOCS.parent / "benchmarks" / "ledger"
GENERATED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = """\
# Command line

Made from the code by `python docs/make_cli.py`. `demis-ij COMMAND --help` says the same.

Everywhere: `--debug` (before the command) shows the traceback of a failure, `--version` the version. Errors are one
line on standard error.

| Exit code | Means |
|---|---|
| 0 | done; single tiles and pairs that failed are warnings |
| 1 | our fault, or the machine's (a full disk); what is done is kept |
| 2 | something given cannot be used: the line says what, and what is needed |
| 3 | done, but there were warnings and `--strict` was given |
| 4 | done, but images do not match (`register`) |
| 130 | interrupted; the same command goes on from there |
"""


def command_page() -> str:
    """Return ``docs/cli.md``, from the signatures themselves: typer's own objects differ from version to version."""
    commands = commands_of(app)
    links = "\nCommands: " + ", ".join(f"[{name}](#{name.replace(' ', '-')})" for name in commands) + "\n"
    return HEAD + links + "".join(_command(name, call) for name, call in commands.items())


def commands_of(group: Any, before: str = "") -> dict[str, Callable[..., Any]]:
    """Return the functions of all commands by the words that call them, those of groups of commands last."""
    own = {before + (i.name or i.callback.__name__): i.callback for i in group.registered_commands if i.callback}
    for inner in group.registered_groups:
        own |= commands_of(inner.typer_instance, f"{before}{inner.typer_instance.info.name} ")
    return own


def parameters(call: Any) -> list[tuple[inspect.Parameter, Any, Any]]:
    """Return the parameters of a command: signature, plain type, and typer's description of it."""
    hints = get_type_hints(call, include_extras=True)
    given = inspect.signature(call).parameters
    return [(p, *get_args(hints[name])[:2]) for name, p in given.items()]


def _command(name: str, call: Any) -> str:
    told = "\n\n".join(" ".join(p.split()) for p in (inspect.getdoc(call) or "").split("\n\n"))
    rows = [(_names(info), *_value(p, kind, info), _cell(info.help or "")) for p, kind, info in parameters(call)]
    arguments = [str(info.metavar) for _, _, info in parameters(call) if isinstance(info, ArgumentInfo)]
    lines = ["| " + " | ".join(row) + " |\n" for row in rows]
    options = ["[OPTIONS]"] if len(rows) > len(arguments) else []
    usage = " ".join(["demis-ij", name, *arguments, *options])
    table = f"\n| | Value | Default | |\n|---|---|---|---|\n{''.join(lines)}" if rows else ""
    return f"\n## {name}\n\n{told}\n\n```\n{usage}\n```\n{table}"


def _names(info: Any) -> str:
    if isinstance(info, ArgumentInfo):
        return f"`{info.metavar}`"
    return ", ".join(f"`{n}`" for n in (info.default, *info.param_decls) if isinstance(n, str))  # Annotated: no default


def _value(parameter: inspect.Parameter, kind: Any, info: Any) -> tuple[str, str]:
    """Return what a parameter takes, and its default."""
    needed = parameter.default is inspect.Parameter.empty
    plain = next((k for k in get_args(kind) if k is not type(None)), kind) if isinstance(kind, UnionType) else kind
    repeatable = get_origin(plain) is list
    plain = get_args(plain)[0] if repeatable else plain
    words = {str: "text", Path: "path", int: "number", float: "number", bool: ""}[plain]
    default = "needed" if needed else "" if parameter.default in {None, False} else f"`{parameter.default}`"
    return words + (", repeatable" if repeatable else ""), default


def settings_table(kind: type[Any]) -> str:
    """Return the settings of a config with their defaults and what its docstring says of them."""
    told = _attributes(inspect.cleandoc(kind.__doc__ or ""))  # Python 3.13 takes the indentation off by itself
    lines = ["| Setting | Type | Default | What it does |\n", "|---|---|---|---|\n"]
    for f in fields(kind):
        if f.name == "shape" and kind is SampleSpec:
            continue  # set by shapes in [train]
        shown = ", ".join(map(_shown, f.default)) if isinstance(f.default, tuple) else f.default
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        type_name = {"tuple[str, ...]": "list of text", "str": "text", "bool": "true or false"}.get(f.type, f.type)
        type_name = {"float": "number", "int": "whole number"}.get(type_name, type_name)
        type_name = "list" if type_name.startswith("tuple") else type_name
        lines.append(f"| `{f.name}` | {type_name} | `{shown}` | {_cell(told[f.name])} |\n")
    return "".join(lines)


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _attributes(docstring: str) -> dict[str, str]:
    """Return the texts of a numpydoc section "Attributes" by name; names that share a text share it."""
    out: dict[str, str] = {}
    names: list[str] = []
    for line in docstring.partition("----------\n")[2].splitlines():
        head = re.match(r"(\w[\w, ]*) : ", line)
        if head:
            names = [name.strip() for name in head[1].split(",")]
            out |= dict.fromkeys(names, "")
        elif line.strip():
            for name in names:
                out[name] += " " + line.strip()
    return out


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def grids_table() -> str:
    """Return what the ledger says of each set and matcher."""
    rows = _ledger("grids")
    lines = [
        "| Set | Matcher | Textured pairs failed | Resin pairs failed | Wrong pairs believed | Corner error of a pair |"
        " Error of the tiles: median, maximum | Groups |\n",
        "|---|---|---|---|---|---|---|---|\n",
    ]
    for key, row in sorted(rows.items()):
        name, matcher = key.split()[:2]
        cells = [
            name,
            matcher,
            f"{row['textured_fail']} of {row['textured_pairs']}",
            f"{row['resin_fail']} of {row['resin_pairs']}" if row["resin_pairs"] else "–",
            f"{row['textured_wrong'] + row['resin_wrong'] + row['other_accepted']}",
            _px(row["corner_median_px"]),
            f"{_px(row['global_median_px'])}, {_px(row['global_max_px'])}",
            f"{row['components']}",
        ]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def _ledger(name: str) -> dict[str, dict[str, Any]]:
    """Return a ledger's rows."""
    rows: dict[str, dict[str, Any]] = json.loads((LEDGERS / f"{name}.json").read_text(encoding="utf-8"))
    return rows


MATCHING = {
    "CPU s a pair": ("cpu_s", ".3f"),
    "matches": ("matches", ".0f"),
    "inliers": ("inliers", ".0f"),
    "outliers": ("outliers", ".1f"),
    "reproj. px: all": ("reprojection_all_px", ".2f"),
    "inliers ": ("reprojection_inliers_px", ".3f"),
    "corner px": ("corner_median_px", ".3f"),
    "AUC@1": ("auc_1px", ".3f"),
    "@3": ("auc_3px", ".3f"),
    "@5": ("auc_5px", ".3f"),
    "@10": ("auc_10px", ".3f"),
    "coverage": ("coverage", ".3f"),
}
PICTURES = {
    "overlap PSNR dB": ("overlap_psnr_db", ".2f"),
    "SSIM": ("overlap_ssim", ".3f"),
    "FSIM": ("overlap_fsim", ".3f"),
    "stitched PSNR dB": ("stitched_psnr_db", ".1f"),
    "SSIM ": ("stitched_ssim", ".4f"),
    "FSIM ": ("stitched_fsim", ".4f"),
    "BRISQUE": ("stitched_brisque", ".2f"),
    "of the truth": ("true_brisque", ".2f"),
}
REAL = {
    "inliers": ("inliers", ".0f"),
    "CPU s a pair": ("cpu_s", ".3f"),
    "coverage": ("coverage", ".3f"),
    "loops": ("loops", "d"),
    "loop px: median": ("loop_median_px", ".2f"),
    "largest": ("loop_max_px", ".2f"),
}


def _measured(ledger: str, columns: dict[str, tuple[str, str]], first: str, before: Callable[..., list[str]]) -> str:
    """Return a table of a ledger: set, configuration, what ``before`` makes of a row, and columns by their format."""
    lines = [
        f"| Set | {first} | " + " | ".join(columns) + " |\n",
        "|---|" + "---|" * (1 + first.count("|") + len(columns)) + "\n",
    ]
    for key, row in _ledger(ledger).items():
        *_, name, written = key.split(" | ")
        cells = [name.removesuffix(" seed 1"), f"`{written}`", *before(row)]
        cells += ["–" if row.get(k) is None else format(row[k], style) for k, style in columns.values()]
        lines.append("| " + " | ".join(cells) + " |\n")
    return "".join(lines)


def pairs_table() -> str:
    """Return how each configuration matches pairs."""

    def failures(row: dict[str, Any]) -> list[str]:
        weak = f"{row['weak_failed']:.0f} of {row['weak_pairs']:.0f}" if row.get("weak_pairs") else "–"
        return [f"{row['textured_failed']:.0f} of {row['textured_pairs']:.0f}", weak, f"{row['wrong']:.0f}"]

    return _measured("evaluate", MATCHING, "Configuration | failed textured | failed weak | wrong", failures)


def pictures_table() -> str:
    """Return how the stitched pairs of each configuration look."""
    return _measured("evaluate", PICTURES, "Configuration", lambda _: [])


def real_table() -> str:
    """Return what each matcher makes of pairs of real tiles."""
    return _measured("real_pairs", REAL, "Matcher | accepted", lambda row: [f"{row['accepted']} of {row['pairs']}"])


def real_grids_table() -> str:
    """Return what each matcher makes of grids of real tiles."""
    lines = ["| set | matcher | by stage | pairs accepted | loop px | truth px |\n", "|---|---|---|---|---|---|\n"]
    for key, row in _ledger("real").items():
        spans = [
            f"{row[f'{what}_median_px']:.2f} / {row[f'{what}_max_px']:.2f}" if f"{what}_median_px" in row else "–"
            for what in ("loop", "truth")
        ]
        pairs = f"{row['accepted']} of {row['looked_at']}"
        lines.append(f"| {key} | {row['by_stage']} of {row['tiles']} | {pairs} | {spans[0]} | {spans[1]} |\n")
    return "".join(lines)


def _px(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g} px"


TABLES: dict[str, Callable[[], str]] = {
    "stitch": lambda: settings_table(StitchConfig),
    "render": lambda: settings_table(RenderConfig),
    "train_data": lambda: settings_table(TrainDataConfig),
    "train": lambda: settings_table(TrainConfig),
    "samples": lambda: settings_table(SampleSpec),
    "validation": lambda: settings_table(ValidationConfig),
    "architecture": lambda: settings_table(ArchitectureConfig),
    "ssemnet": lambda: settings_table(SsemnetConfig),
    "register": lambda: settings_table(RegisterConfig),
    "autoencoder": lambda: settings_table(AutoencoderConfig),
    "style": lambda: settings_table(StyleConfig),
    "two_headed": lambda: settings_table(TwoHeadedConfig),
    "grids_config": lambda: settings_table(GridsConfig),
    "grids": grids_table,
    "pairs": pairs_table,
    "pictures": pictures_table,
    "real": real_table,
    "grids_real": real_grids_table,
}
PAGES = (
    DOCS / "howto" / "config.md",
    DOCS / "howto" / "register.md",
    DOCS / "howto" / "ssemnet.md",
    DOCS / "howto" / "synth.md",
    DOCS / "howto" / "train.md",
    DOCS / "howto" / "train-style.md",
    DOCS / "howto" / "train-two-headed.md",
    DOCS / "matching.md",
    DOCS / "verdicts.md",
    DOCS.parent / "README.md",
)


def filled(page: str) -> str:
    """Return a page with its generated tables made anew."""
    return GENERATED.sub(lambda m: f"{m[1]}\n{TABLES[m[2]]()}\n{m[3]}", page)


def main() -> None:
    """Write them all."""
    (DOCS / "cli.md").write_text(command_page(), encoding="utf-8")
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write("".join(f"{page}\n" for page in (DOCS / "cli.md", *PAGES)))


if __name__ == "__main__":
    main()
