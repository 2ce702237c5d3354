"""``synth``: images cut into grids of tiles with exact truth, and made-up sections."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from demis_ij.cli.progress import Bars
from demis_ij.cli.telling import say_table, say_warnings
from demis_ij.config import GRID_PRESETS, GridsConfig, from_dict, read_toml, to_dict
from demis_ij.errors import InputError
from demis_ij.synth.dataset import check_dataset, make_dataset, plan_dataset, write_sections
from demis_ij.synth.stack import CASES, LabelledVolume, case_named, made_up, read_volume, write_stack

_STYLES = "tem, sem, fib_sem ... (an unknown one lists them all)"

Out_ = Annotated[Path, typer.Option("--out", help="Folder: new, empty, or one to go on with.")]
Json_ = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")]
Quiet_ = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Seed_ = Annotated[int, typer.Option("--seed", min=0, help="Of everything random.")]
Whole_ = int | None
Number_ = float | None

app = typer.Typer(
    name="synth",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make data with exact truth: grids of overlapping tiles, made-up sections, misaligned stacks.",
)


def grids_config(
    preset: str | None, config: Path | None, settings: list[str] | None, named: dict[str, Any]
) -> tuple[GridsConfig, str]:
    """Return the config and its preset's name: the preset, then the TOML file, then ``--set``, then named options.

    Raises
    ------
    InputError
        When a preset, a table or a setting is unknown, or a value out of range.
    """
    tables = read_toml(config) if config else {}
    unknown = sorted(set(tables) - {"grids"})
    if unknown or not isinstance(tables.get("grids", {}), dict):
        msg = f"{config}: needed one table [grids], found {unknown[0] if unknown else tables['grids']!r}"
        raise InputError(msg)
    given = dict(tables.get("grids", {}))
    in_file = given.pop("preset", None)
    name = str(preset or in_file or "ours")
    if name not in GRID_PRESETS:
        msg = f"no preset {name!r}; known: {', '.join(GRID_PRESETS)}"
        raise InputError(msg)
    values = {**GRID_PRESETS[name], **given}
    defaults = to_dict(GridsConfig())
    for item in settings or []:
        key, equals, text = item.partition("=")
        if not equals:
            msg = f"--set {item}: needed NAME=VALUE"
            raise InputError(msg)
        values[key.strip()] = _value(text, defaults.get(key.strip()))
    values |= {key: value for key, value in named.items() if value is not None}
    return from_dict(GridsConfig, values), name


def _value(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def grids(
    folder: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER...]", help="Folders of large images, searched with their sub-folders."),
    ] = None,
    *,
    out: Out_,
    generated: Annotated[Whole_, typer.Option("--generated", help="Cut so many made-up sections, too.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help=f"Settings to start from: {', '.join(GRID_PRESETS)} (default ours).")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML with a table [grids].")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, e.g. --set decoy_frac=0.5. Repeatable.")
    ] = None,
    seed: Seed_ = 1,
    tile: Annotated[Whole_, typer.Option("--tile", help="Side of a tile, px.")] = None,
    rows: Annotated[Whole_, typer.Option("--rows", help="Rows of a grid; 0: as many as fit.")] = None,
    cols: Annotated[Whole_, typer.Option("--cols", help="Columns of a grid; 0: as many as fit.")] = None,
    max_rows: Annotated[Whole_, typer.Option("--max-rows", help="Most rows where as many as fit.")] = None,
    max_cols: Annotated[Whole_, typer.Option("--max-cols", help="Most columns where as many as fit.")] = None,
    per_source: Annotated[Whole_, typer.Option("--per-source", help="Grids cut from each image.")] = None,
    overlap: Annotated[Number_, typer.Option("--overlap", help="Overlap of neighbours, fraction of a tile.")] = None,
    rotation: Annotated[Number_, typer.Option("--rotation", help="Most a tile is turned, degrees.")] = None,
    translation: Annotated[
        Number_, typer.Option("--translation", help="Most a tile is shifted, fraction of a tile.")
    ] = None,
    stage_error: Annotated[
        Number_, typer.Option("--stage-error", help="Most the stage is wrong besides, fraction of a tile.")
    ] = None,
    brightness: Annotated[Number_, typer.Option("--brightness", help="Sd of what is added, greys of 255.")] = None,
    contrast: Annotated[Number_, typer.Option("--contrast", help="Sd of the factor about 1.")] = None,
    noise: Annotated[Number_, typer.Option("--noise", help="Sd of the noise, greys of 255.")] = None,
    blur: Annotated[Number_, typer.Option("--blur", help="Most a tile is blurred, sigma in px.")] = None,
    missing: Annotated[Number_, typer.Option("--missing", help="Share of tiles that do not exist.")] = None,
    resin: Annotated[Number_, typer.Option("--resin", help="Share of tiles that show only resin.")] = None,
    components: Annotated[
        Whole_, typer.Option("--components", help="Parts that missing tiles cut a grid into.")
    ] = None,
    decoys: Annotated[
        Number_, typer.Option("--decoys", help="Share of grids with a pair of neighbours that agree wrongly, too.")
    ] = None,
    validation: Annotated[Number_, typer.Option("--validation", help="Share of the sources for validation.")] = None,
    test: Annotated[Number_, typer.Option("--test", help="Share of the sources for testing.")] = None,
    split_by: Annotated[
        str | None, typer.Option("--split-by", help="image, or folder: all images of a folder go to one split.")
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", help=f"Of made-up sections: {_STYLES}; drawn for each when not given.")
    ] = None,
    size: Annotated[Whole_, typer.Option("--size", help="Side of a made-up section, px.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What file names begin with.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; write nothing.")] = False,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when there is any warning.")] = False,
) -> int:
    """Cut large images into grids of overlapping tiles: TrakEM2 projects, TileConfiguration.txt, exact truth, and the
    layout of the DEMIS dataset with splits by source image.

    The same seed, settings and images give the same dataset. Images too small or unreadable are left out and named.
    """  # noqa: D205
    named = {
        "generated": generated, "tile_px": tile, "rows": rows, "cols": cols, "max_rows": max_rows,
        "max_cols": max_cols, "grids_per_source": per_source, "overlap": overlap, "rotation_deg": rotation,
        "shift_frac": translation, "stage_error_frac": stage_error, "bias_sd": brightness, "gain_sd": contrast,
        "noise_sd": noise, "blur_px": blur, "missing_frac": missing, "resin_frac": resin, "components": components,
        "decoy_frac": decoys, "validation_frac": validation, "test_frac": test, "split_by": split_by, "style": style,
        "generated_px": size, "name": name,
    }  # fmt: skip
    chosen, preset_name = grids_config(preset, config, setting, named)
    with Bars(not (quiet or as_json)) as bars:
        if dry_run:
            made = plan_dataset(folder or [], out, chosen, seed=seed, progress=bars)
        else:
            made = make_dataset(folder or [], out, chosen, seed=seed, preset=preset_name, progress=bars)
    found = made.record["grids"]
    if as_json:
        splits = {split: sum(g["split"] == split for g in found) for split in ("train", "val", "test")}
        facts = {
            "folder": str(out), "grids": len(found), "tiles": sum(g["tiles"] for g in found),
            "pairs": sum(g["pairs"] for g in found), "sources": len(made.record["sources"]), "splits": splits,
            "kept": made.kept, "bytes": _bytes(found, chosen), "dry_run": dry_run, "warnings": list(made.warnings),
        }  # fmt: skip
        typer.echo(json.dumps(facts))
    else:
        say_warnings(made.warnings)
        say_table([_row(split, found, made.record["sources"]) for split in ("train", "val", "test")])
        if dry_run:
            room = _bytes(found, chosen) / 1e6
            typer.echo(
                f"{out}: about {room:.0f} MB, {_many(made.kept, 'grid')} there already; dry run: nothing was written"
            )
        else:
            for file in ("DATASET.md", "contact_sheet.png"):
                typer.echo(f"  {out / file}")
    return 3 if strict and made.warnings else 0


def _bytes(found: list[dict[str, Any]], config: GridsConfig) -> int:
    """Return about how much room a dataset's tiles and made-up sections take."""
    return sum(int(g["tiles"]) for g in found) * config.tile_px**2 + config.generated * config.generated_px**2


def _row(split: str, found: list[dict[str, Any]], sources: list[dict[str, Any]]) -> dict[str, Any]:
    mine = [g for g in found if g["split"] == split]
    return {
        "split": split,
        "sources": sum(s["split"] == split for s in sources),
        "grids": len(mine),
        "tiles": sum(g["tiles"] for g in mine),
        "pairs": sum(g["pairs"] for g in mine),
    }


def check(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Made by 'synth grids', or any in the layout of DEMIS (EM424).")
    ],
    as_json: Json_ = False,
    quiet: Quiet_ = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 when there is any warning.")] = False,
) -> int:
    """Check a dataset: nothing missing, poses and labels agree, and no source image in two splits."""
    with Bars(not (quiet or as_json)) as bars:
        facts = check_dataset(dataset, progress=bars)
    if as_json:
        typer.echo(json.dumps(facts))
    else:
        say_warnings(facts["warnings"])
        splits = ", ".join(f"{name} {count}" for name, count in facts["splits"].items()) or "no splits"
        tiles, pairs = _many(facts["tiles"], "tile"), _many(facts["pairs"], "pair")
        typer.echo(f"{dataset}: {_many(facts['grids'], 'grid')} ({splits}), {tiles}, {pairs}: sound")
    return 3 if strict and facts["warnings"] else 0


def sections(
    out: Out_,
    count: Annotated[int, typer.Option("--count", min=1, max=100_000, help="How many.")] = 1,
    size: Annotated[int, typer.Option("--size", min=64, max=32_000, help="Their side, px.")] = 2048,
    style: Annotated[
        str | None,
        typer.Option("--style", help=f"{_STYLES}; when not given drawn for each, or tem with --series."),
    ] = None,
    serial: Annotated[
        bool, typer.Option("--series", help="Serial sections of one volume instead of each by itself.")
    ] = False,
    step: Annotated[
        float | None, typer.Option("--step", help="With --series: from one section to the next, px (the style's own).")
    ] = None,
    seed: Seed_ = 1,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Write made-up sections of tissue as 8-bit TIFF, without camera noise."""
    with Bars(not (quiet or as_json)) as bars:
        files = write_sections(
            out, count=count, side_px=size, style=style, seed=seed, serial=serial, step_px=step, progress=bars
        )
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "files": [str(f) for f in files]}))
    else:
        typer.echo(f"{out}: {_many(len(files), 'section')} of {size} x {size} px")


def stack(
    images: Annotated[
        Path | None,
        typer.Argument(metavar="[IMAGES]", help="An aligned volume: folder, TIFF, OME-Zarr, or .npz; made up if none."),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", help="Folder; each case gets a folder in it.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Its labels: a folder of images, or a multi-page TIFF.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help=f"{', '.join(CASES)}, or all. Repeatable (default moderate).")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=2, max=20_000, help="Sections (all; made up: 20).")
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Of a volume: take each n-th section.")] = 1,
    start: Annotated[int, typer.Option("--start", min=0, help="Of a volume: from this section on.")] = 0,
    size: Annotated[int, typer.Option("--size", min=64, max=8192, help="Side of made-up sections, px.")] = 512,
    style: Annotated[str, typer.Option("--style", help=f"Of made-up sections: {_STYLES}.")] = "tem",
    step: Annotated[
        float | None, typer.Option("--step", help="From one made-up section to the next, px (the style's own).")
    ] = None,
    seed: Seed_ = 1,
    as_json: Json_ = False,
    quiet: Quiet_ = False,
) -> None:
    """Deform the sections of an aligned, labelled volume by known warps: splines, turns, shifts, folds, tears, empty
    corners, dirt, lost sections. The warps that undo it are in warps_true.npz.
    """  # noqa: D205
    names = list(dict.fromkeys(case or ["moderate"]))
    cases = CASES if names == ["all"] else {name: case_named(name) for name in names}
    if images is None:
        if labels is not None or every != 1 or start:
            msg = "--labels, --every and --start belong to a volume of your own: name its images, too"
            raise InputError(msg)
        volume: LabelledVolume = made_up(size, count or 20, seed, style=style, step_px=step)
        source = {"made_up": {"size": size, "style": style, "step_px": step, "seed": seed}, "count": count or 20}
    else:
        volume = read_volume(images, labels, every=every, start=start, count=count or 0)
        source = {"images": images.name, "every": every, "start": start, "count": len(volume)}
    made = {}
    with Bars(not (quiet or as_json)) as bars:
        for name, chosen in cases.items():
            made[name] = write_stack(out / name, volume, name, chosen, seed, source=source, progress=bars)
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "stacks": [str(out / n) for n in made], "made": made}))
        return
    for name, is_new in made.items():
        typer.echo(f"  {out / name}{'' if is_new else '  (was there already)'}")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


app.command()(grids)
app.command()(check)
app.command()(sections)
app.command()(stack)


def add_to(parent: typer.Typer) -> None:
    """Add the commands of this file."""
    parent.add_typer(app)
