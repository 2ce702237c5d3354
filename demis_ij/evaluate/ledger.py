"""The ledger: figures that were reached once, and what may differ before accuracy has fallen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demis_ij.errors import FormatError, InputError
from demis_ij.evaluate.summary import Row

Ledger = Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Tolerance:
    """How much worse a figure may be than the ledger says.

    Attributes
    ----------
    larger_is_better : bool
    share, amount : float
        Of the ledger's figure, and in the figure's own unit; they add up.
    reason : str
    """

    larger_is_better: bool
    share: float
    amount: float
    reason: str

    def allows(self, then: float, now: float) -> bool:
        """Return whether a figure has not fallen; one that is not finite any more has."""
        if not math.isfinite(then):
            return True
        if not math.isfinite(now):
            return False
        room = self.share * abs(then) + self.amount
        return now >= then - room if self.larger_is_better else now <= then + room


DIGITS = 5
_COUNT = "a textured pair is far from the threshold; none flips by rounding"
_WEAK = "one pair at the gate's threshold may flip where processors round differently (bfloat16, fused sums)"
_EXACT = "processors that round differently move a match by hundredths of a pixel"
_AREA = "a hundredth is what one corner in a hundred makes"
_STACK = "flows that round differently move a section by hundredths of a pixel; an object's outline is a few per cent"
_LIMIT = "a pair at the limit of a tier may change sides where processors round differently"
_PICTURE = "what a hundredth of a pixel changes in a noisy picture"

TOLERANCES: Mapping[str, Tolerance] = {
    "textured_failed": Tolerance(False, 0, 0, _COUNT),
    "wrong": Tolerance(False, 0, 0, "a wrong pair that is believed is the one thing that must not happen"),
    "weak_failed": Tolerance(False, 0, 1, _WEAK),
    "by_stage": Tolerance(False, 0, 1, _WEAK),
    "islands": Tolerance(False, 0, 1, _WEAK),
    "failed_grids": Tolerance(False, 0, 0, "a grid that was solved is solved"),
    "matches": Tolerance(True, 0.1, 0, _EXACT),
    "inliers": Tolerance(True, 0.1, 0, _EXACT),
    "coverage": Tolerance(True, 0, 0.02, _AREA),
    "reprojection_all_px": Tolerance(False, 0.3, 0.05, "a few gross outliers before the gate make most of it"),
    "reprojection_inliers_px": Tolerance(False, 0.15, 0.01, _EXACT),
    "corner_median_px": Tolerance(False, 0.15, 0.01, _EXACT),
    "global_median_px": Tolerance(False, 0.15, 0.01, _EXACT),
    "global_90_px": Tolerance(False, 0.2, 0.02, _EXACT),
    "textured_global_median_px": Tolerance(False, 0.15, 0.01, _EXACT),
    "textured_global_90_px": Tolerance(False, 0.2, 0.02, _EXACT),
    "textured_global_max_px": Tolerance(False, 0.3, 0.05, "one tile makes it"),
    "dice_score": Tolerance(True, 0, 0.03, _STACK),
    "dice": Tolerance(True, 0, 0.006, _STACK),
    "drift_dice": Tolerance(True, 0, 0.006, _STACK),
    "residual_px": Tolerance(False, 0.05, 0.05, _STACK),
    "folded_frac": Tolerance(False, 0, 0, "what folds nothing goes on folding nothing"),
    "failed": Tolerance(False, 0, 0, "a pair that is registered stays registered"),
    "recognised": Tolerance(True, 0, 0, "strangers are far from the threshold"),
    "error_px": Tolerance(False, 0.15, 0.02, _EXACT),
    "failed_stacks": Tolerance(False, 0, 0, "a stack that was aligned is aligned"),
    "good_share": Tolerance(True, 0, 0.02, _LIMIT),
    "lost_share": Tolerance(False, 0, 0.01, _LIMIT),
    "median_residual_px": Tolerance(False, 0.1, 0.03, _STACK),
    **{f"auc_{t}px": Tolerance(True, 0, 0.01, _AREA) for t in (1, 3, 5, 10)},
    **{f"all_auc_{t}px": Tolerance(True, 0, 0.02, _WEAK) for t in (1, 3, 5, 10)},
    **{f"{p}_psnr_db": Tolerance(True, 0, 0.5, _PICTURE) for p in ("overlap", "stitched", "mosaic")},
    **{f"{p}_ssim": Tolerance(True, 0, 0.01, _PICTURE) for p in ("overlap", "stitched", "mosaic")},
    **{f"{p}_fsim": Tolerance(True, 0, 0.01, _PICTURE) for p in ("overlap", "stitched", "mosaic")},
    **{f"{p}_rmse": Tolerance(False, 0.06, 0.05, _PICTURE) for p in ("overlap", "stitched", "mosaic")},
}
"""What is checked. Times are not, for they are the machine's; nor is BRISQUE, of which less is not always better."""


def key_of(what: str, row: Row) -> str:
    """Return the name of a row in the ledger; ``what`` is pairs, grids or align."""
    return f"{what} | {row.scene} | {row.configuration}"


def read_ledger(path: Path) -> Ledger:
    """Return a ledger. Raises `FormatError` when it is missing or not one."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FormatError(path, f"is not JSON: {error}") from error
    fine = isinstance(held, dict) and all(
        isinstance(row, dict) and all(v is None or isinstance(v, int | float) for v in row.values())
        for row in held.values()
    )
    if not fine:
        raise FormatError(path, "is no ledger: a ledger maps 'pairs | SCENE | CONFIGURATION' to figures by name")
    return held  # type: ignore[no-any-return]


def check(what: str, rows: Sequence[Row], ledger: Ledger) -> list[str]:
    """Return one line for each figure that fell, and for each row or figure that the ledger lacks.

    Raises
    ------
    InputError
        When the ledger knows none of the rows: nothing would have been checked.
    """
    known = [r for r in rows if key_of(what, r) in ledger]
    if not known:
        msg = f"the ledger knows none of these rows, for instance {key_of(what, rows[0])!r}; it has {_some(ledger)}"
        raise InputError(msg)
    lines = [f"{key_of(what, r)}: not in the ledger" for r in rows if r not in known]
    for row in known:
        then = ledger[key_of(what, row)]
        for name, tolerance in TOLERANCES.items():
            old = then.get(name)
            if old is None:
                continue
            now = round(float(row.values.get(name, math.nan)), DIGITS)  # as it was written
            if not tolerance.allows(float(old), now):
                said = f"{old:g} -> {now:g}" if math.isfinite(now) else f"{old:g} -> not known"
                lines.append(f"{key_of(what, row)}: {name} {said}")
    return lines


def _some(ledger: Ledger) -> str:
    names = list(ledger)
    return ", ".join(map(repr, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def write_ledger(path: Path, what: str, rows: Sequence[Row]) -> None:
    """Put rows into a ledger: new ones are added, old ones of the same name replaced, the others stay.

    Raises
    ------
    FormatError
        When there is a file that is no ledger.
    InputError
        When it cannot be written.
    """
    held = {k: dict(v) for k, v in read_ledger(path).items()} if path.exists() else {}
    for row in rows:
        told = {k: (round(float(v), DIGITS) if math.isfinite(v) else None) for k, v in row.values.items()}
        held[key_of(what, row)] = told
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        msg = f"ledger {path} cannot be written: {error.strerror}"
        raise InputError(msg) from error
