"""Rows as tables: which figures, under which heading, for a terminal, a CSV file and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demis_ij.evaluate.scores import GridScore, PairScore, RegisterScore, StackScore, StyleScore, to_json
from demis_ij.evaluate.summary import Row


@dataclass(frozen=True)
class Column:
    """One figure of a table.

    Attributes
    ----------
    key : str
        Its name in a `Row`.
    head, meaning : str
        Short, and in a sentence.
    digits : int
        Decimals.
    of : str
        Key of the number it is out of ("2/17").
    measure : str
        Which measure of `missing_measures` it needs.
    """

    key: str
    head: str
    meaning: str
    digits: int = 3
    of: str = ""
    measure: str = ""


_RMSE, _PSNR = "root mean square difference, grey values of 255", "peak signal to noise ratio, dB"
_PICTURE_FIGURES = (
    ("rmse", "RMSE", _RMSE, 2, ""),
    ("psnr_db", "PSNR dB", _PSNR, 1, ""),
    ("ssim", "SSIM", "structural similarity", 3, "ssim"),
    ("fsim", "FSIM", "feature similarity", 3, "fsim"),
)


def _pictures(prefix: str, what: str) -> tuple[Column, ...]:
    return tuple(
        Column(f"{prefix}_{key}", f"{prefix} {head}", f"{meaning}, {what}", digits, measure=measure)
        for key, head, meaning, digits, measure in _PICTURE_FIGURES
    )


_AREAS = tuple(
    Column(f"auc_{t}px", f"AUC@{t}", f"area under the recall curve of the corner error up to {t} px, of 1")
    for t in (1, 3, 5, 10)
)
PAIR_COLUMNS: tuple[Column, ...] = (
    Column("cpu_s", "CPU s", "processor seconds a pair: features, matching, gate, refinement"),
    Column("wall_s", "wall s", "seconds a pair on the clock"),
    Column("matches", "matches", "what the matcher offered, mean of textured pairs", 0),
    Column(
        "inliers", "inliers", "matches that agree in an accepted pair, 0 in a rejected one; mean of textured pairs", 0
    ),
    Column("outliers", "outliers", "offered matches farther than 3 px from the truth, mean of textured pairs", 1),
    Column("reprojection_all_px", "reproj. all", "mean distance of offered matches from the truth, px, textured", 2),
    Column("reprojection_inliers_px", "reproj. inl.", "mean distance of inliers from the truth, px, textured"),
    Column("corner_median_px", "corner px", "median error of the moving tile's corners, textured, failures infinite"),
    *_AREAS,
    Column("coverage", "coverage", "share of 32 px blocks of the true overlap with an inlier right to 1 px, textured"),
    Column("textured_failed", "failed textured", "rejected, or off by over 10 px", 0, of="textured_pairs"),
    Column("weak_failed", "failed weak", "the same of pairs that share only resin", 0, of="weak_pairs"),
    Column("weak_corner_median_px", "weak corner px", "median error of the corners of weak pairs, failures infinite"),
    Column("wrong", "wrong", "believed, and off by over 10 px", 0),
    Column("pictures", "pictures", "stitched pairs whose pictures were measured: textured pairs that were accepted", 0),
    *_pictures("overlap", "of the moving tile warped onto the fixed tile against the fixed tile, over their overlap"),
    *_pictures("stitched", "of the pair stitched by the estimate against the pair stitched by the truth"),
    Column("stitched_brisque", "BRISQUE", "of the stitched pair; compare with the next column", 1, measure="brisque"),
    Column("true_brisque", "BRISQUE truth", "of the pair stitched by the truth", 1, measure="brisque"),
)
GRID_COLUMNS: tuple[Column, ...] = (
    Column("cpu_s_per_tile", "CPU s/tile", "processor seconds a tile of the whole job, without drawing"),
    Column("wall_s_per_tile", "wall s/tile", "seconds a tile on the clock"),
    Column("textured_global_median_px", "global px", "corner error of the solved tiles, median, tiles with texture"),
    Column("textured_global_90_px", "90 %", "nine tenths of those are below"),
    Column("textured_global_max_px", "max", "the worst of those"),
    Column("global_median_px", "all tiles px", "the same of all tiles"),
    Column("global_max_px", "all max", "the worst of all tiles", 2),
    Column("corner_median_px", "neighbours px", "corner error of textured neighbours relative to each other, median"),
    *_AREAS,
    Column("textured_failed", "failed textured", "solved neighbours off by over 10 px", 0, of="textured_pairs"),
    Column("weak_failed", "failed weak", "the same of neighbours that share only resin", 0, of="weak_pairs"),
    Column("by_stage", "by stage", "tiles that no pair holds", 0, of="tiles"),
    Column("islands", "islands", "connected parts beyond the first", 0),
    Column("failed_grids", "no result", "grids without a solution", 0, of="grids"),
    *_pictures("mosaic", "of the mosaic against the mosaic drawn at the true places"),
    Column("mosaic_brisque", "BRISQUE", "of the mosaic's middle; compare with the next column", 1, measure="brisque"),
    Column("true_brisque", "BRISQUE truth", "of the middle of the mosaic at the true places", 1, measure="brisque"),
)
STACK_COLUMNS: tuple[Column, ...] = (
    Column("dice_score", "score", "Dice gained over Dice gainable: 0 like doing nothing, 1 like the true warps", 2),
    Column("dice", "Dice", "mean Dice of the 50 largest objects between neighbours, where both are tissue"),
    Column("dice_before", "  before", "the same when nothing is done"),
    Column("dice_true", "  true", "the same by the true warps"),
    Column("drift_dice", "drift Dice", "mean Dice of whole objects against the undeformed volume"),
    Column("drift_dice_before", "  before", "the same when nothing is done; what drifts falls below it"),
    Column("residual_px", "residual px", "how far apart tissue is that neighbours show at one place, median", 2),
    Column("residual_95_px", "  95 %", "19 of 20 places are below", 2),
    Column("residual_px_before", "  before", "median when nothing is done", 2),
    Column("ncc", "NCC", "correlation of neighbours; misleads: it can be above that of the true warps"),
    Column("ncc_before", "  before", "the same when nothing is done"),
    Column("ncc_true", "  true", "the same by the true warps"),
    Column("folded_frac", "folded", "share of the warps that is folded", 4),
    Column("shown_frac", "shown", "share of the tissue that the aligned volume shows"),
    Column("no_better", "no better", "sections whose answer, it says, is no better than nothing", 0, of="sections"),
    Column("wall_s_per_section", "wall s/section", "seconds a section on the clock", 2),
    Column("cpu_s_per_section", "CPU s/section", "processor seconds a section", 2),
    Column("failed_stacks", "no result", "stacks without a result", 0, of="stacks"),
)
REGISTER_COLUMNS: tuple[Column, ...] = (
    Column("failed", "failed", "share of pairs refused, or off by over 10 px"),
    Column("refused", "refused", "share of pairs that the method says do not match"),
    Column("wrong", "wrong", "share of pairs believed, and off by over 10 px"),
    Column("error_px", "error px", "mean error of the fixed image's corners, median of pairs, failures infinite", 2),
    Column("error_95_px", "  95 %", "19 of 20 pairs are below", 2),
    Column("error_per_sigma", "error / sigma", "error over what the method expected, median", 2),
    *(
        Column(f"r2_{name}", f"R2 {name}", f"coefficient of determination of the {name}, pairs not refused", 4)
        for name in ("angle", "scale", "shift_x", "shift_y")
    ),
    Column("recognised", "strangers", "share of pairs with nothing in common that are refused"),
    Column("by_network", "by network", "share of pairs where the network's start held"),
    Column("wall_ms", "wall ms", "milliseconds a pair on the clock, median", 0),
    Column("cpu_ms", "CPU ms", "processor milliseconds a pair, median", 0),
    Column("of_sift", "of SIFT's", "its processor milliseconds over those of SIFT in the same run", 2),
)
STYLE_COLUMNS: tuple[Column, ...] = (
    Column("poor", "poor", "worse than doing nothing, or over 1 % folded", 0, of="pairs"),
    Column("bad", "bad", "neither poor nor decent", 0, of="pairs"),
    Column("decent", "decent", "mean residual at most 4 px, not good", 0, of="pairs"),
    Column("good", "good", "mean residual at most 2 px, and 95 % of the pixels within 6 px", 0, of="pairs"),
    Column("median_residual_px", "residual px", "mean residual of a pair, median of pairs", 2),
    Column("mean_residual_px", "  mean", "the same, mean of pairs", 2),
    Column("residual_p95_px", "  95 %", "95 % of a pair's pixels are below, median of pairs", 2),
    Column("before_px", "  before", "mean residual when nothing is done", 2),
    Column("most_folded_frac", "folded", "largest share of a warp that is folded", 4),
    Column("same_share", "same tier", "share of pairs judged alike without the truth"),
    Column("flattered_share", "flattered", "share of pairs called decent or good without truth that are bad or poor"),
    Column("wall_s", "wall s", "seconds a pair on the clock, median", 2),
    Column("cpu_s", "CPU s", "processor seconds a pair, median", 2),
)
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "pairs": PAIR_COLUMNS, "grids": GRID_COLUMNS, "align": STACK_COLUMNS, "register": REGISTER_COLUMNS,
    "style": STYLE_COLUMNS,
}  # fmt: skip
NOT_INSTALLED = "not installed"


def cell(row: Row, column: Column, missing: Mapping[str, str]) -> str:
    """Return a figure as it is shown: a dash for what is not known, ``not installed`` for what cannot be measured."""
    if column.measure in missing:
        return NOT_INSTALLED
    value = row.values.get(column.key, math.nan)
    if not math.isfinite(value):
        return "∞" if value == math.inf else "–"
    said = f"{value:.{column.digits}f}"
    return f"{said}/{row.values[column.of]:.0f}" if column.of else said


def terminal_table(what: str, rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """Return the rows as text: a block for each scene, a line for each figure, a column for each configuration."""
    blocks = []
    for scene in dict.fromkeys(r.scene for r in rows):
        some = [r for r in rows if r.scene == scene]
        lines = [[scene, *(r.configuration for r in some)]]
        lines += [[c.head, *(cell(r, c, missing) for r in some)] for c in COLUMNS[what]]
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        blocks.append(
            "\n".join(
                "  ".join(
                    f"{t:<{w}}" if k == 0 else f"{t:>{w}}" for k, (t, w) in enumerate(zip(line, widths, strict=True))
                )
                for line in lines
            )
        )
    return "\n\n".join(blocks)


def csv_table(what: str, rows: Sequence[Row], missing: Mapping[str, str]) -> str:
    """Return the rows as CSV: a line a row, every figure in full, with the ends of its interval where there are."""
    keys = list(dict.fromkeys(k for r in rows for k in (*r.values, *(c.key for c in COLUMNS[what]))))
    ranged = [k for k in keys if any(k in r.intervals for r in rows)]
    needs = {c.key: c.measure for c in COLUMNS[what]}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["scene", "configuration", *keys, *(f"{k}_{end}" for k in ranged for end in ("low", "high"))])
    for r in rows:
        figures = [NOT_INSTALLED if needs.get(k) in missing else _plain(r.values.get(k, math.nan)) for k in keys]
        ends = [_plain(v) for k in ranged for v in r.intervals.get(k, (math.nan, math.nan))]
        writer.writerow([r.scene, r.configuration, *figures, *ends])
    return out.getvalue()


def _plain(value: float) -> str:
    return "" if math.isnan(value) else "inf" if math.isinf(value) else f"{value:.6g}"


def score_table(scores: Sequence[PairScore | GridScore | StackScore | RegisterScore | StyleScore]) -> str:
    """Return every score as a line of CSV, without the matches that are kept for pictures."""
    lines = [_flat(to_json(s)) for s in scores]
    keys = list(dict.fromkeys(k for line in lines for k in line))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(keys)
    writer.writerows([line.get(k, "") for k in keys] for line in lines)
    return out.getvalue()


def _flat(score: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in score.items():
        if key == "measures":
            out |= value
        elif key == "corner_px":
            out |= {f"corner_{n}_px": v for n, v in enumerate(value or ("inf",) * 4, 1)}
        elif not isinstance(value, tuple | list):
            out[key] = "" if value is None else value
    return out


def json_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows as plain values: null for what is not known, ``inf`` as text."""
    return [
        {
            "scene": r.scene,
            "configuration": r.configuration,
            "values": {k: _json(v) for k, v in r.values.items()},
            "intervals_95": {k: [_json(v) for v in ends] for k, ends in r.intervals.items()},
        }
        for r in rows
    ]


def _json(value: float) -> float | str | None:
    if math.isfinite(value):
        return value
    return "inf" if value == math.inf else None
