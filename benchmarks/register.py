"""Ways to register images of unlike instruments: on made-up pairs, and on real ones whose truth is known or picked.

    python benchmarks/register.py --sets made --pairs 13 --write benchmarks/ledger/register.json
    python benchmarks/register.py --sets microct clem strangers --write benchmarks/ledger/register.json
    python benchmarks/register.py --sets microct --methods auto --check benchmarks/ledger/register.json
    python benchmarks/register.py --time --pairs 9

``made``: the scenes of ``demis-ij evaluate register`` (with its page and plots), each pair 512 px. ``microct``: a
section of a rat's jaw by light, and the same in micro-CT (doi:10.3390/app12126286); the error is the mean distance of
46 landmarks that a surgeon picked. ``clem``: sections by electrons and by fluorescence on one grid to +-4 px, s8 and s9
(doi:10.12688/f1000research.27158.1). Real pairs as they are, and with the moving image turned, scaled and shifted over
the full range. ``strangers``: real images of different specimens. ``DEMIS_IJ_DATA`` names the folder of the real ones.

Every method starts from no turn, or wherever it starts by itself, and is judged alike. Times are of the processor, one
thread, images in memory; in brackets the ratio to SIFT's in the same run. What was measured is kept in ``--out``: an
interrupted run goes on; ``--anew`` forgets it, as one must after a change of the code.

``--time`` measures only what a pass of the network costs, beside two passes, the whole, SIFT and ECC, on made-up pairs
of the full range: each pair by all of them in turn, nothing remembered.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from demis_ij import __version__
from demis_ij.cli.evaluating_register import DEFAULT, usable_methods
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.ledger import check, read_ledger, write_ledger
from demis_ij.evaluate.register import (
    SCENES,
    RegisterMethod,
    evaluate_registrations,
    grey,
    made_pair,
    read_method,
    scored,
)
from demis_ij.evaluate.register_rows import PARAMETERS, pooled_rows, register_rows
from demis_ij.evaluate.scores import RegisterScore
from demis_ij.evaluate.summary import ALL, Row
from demis_ij.geometry import fit_similarity
from demis_ij.images import data_mask, read
from demis_ij.nets.two_headed_frames import predict
from demis_ij.nets.two_headed_weights import load_two_headed
from demis_ij.records import Affine
from demis_ij.register.network import network_guess
from demis_ij.report.registration_evaluation import write_register_evaluation
from demis_ij.synth.correlative_pairs import KINDS, RANGES, CorrelativePair, corner_error_px

TURNED = 8
"""Random transforms of each real pair."""
LEFT_OUT = (9, 30, 43, 46)
"""Landmarks (numbers from 1) that the data's authors leave out as bad; their script says so."""
CROP_XY = (315, 2)
"""The crop of the histology's image, rows and columns from 1: there x is a row, for the file is turned over."""


def data_folder(name: str) -> Path:
    """Return a folder of real images."""
    folder = Path(os.environ.get("DEMIS_IJ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / name
    if not folder.is_dir():
        raise SystemExit(f"no {folder}: set DEMIS_IJ_DATA, or leave the set out (--sets made)")
    return folder


@dataclass(frozen=True, eq=False)
class RealPair:
    """Two images of which the place is known.

    Attributes
    ----------
    scene : str
    pair : CorrelativePair
    masks : tuple of ndarray
        Where they are data.
    landmarks : tuple of ndarray of shape (N, 2), or None
        Points in both, px: then the error is their mean distance, in px of the moving image as it was.
    """

    scene: str
    pair: CorrelativePair
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    landmarks: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def measure(self, found: Affine) -> float:
        """Return the mean distance of the landmarks."""
        fixed, moving = self.landmarks
        scale = self.pair.to_moving.scale
        return float(np.hypot(*(found(fixed) - moving).T).mean() / scale)


def landmarks() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the hand-picked landmarks of ``corr_histology_microct``: px of histology.mha, px of microct.mha.

    ``manual_matched_points_matlabimport.xlsx`` holds what was picked: 50 points in px of the whole histology image
    (his_x its column, his_y its row, from 1) and of the micro-CT volume. ``microct_pts.txt`` holds 46 of the latter
    carried into microct.mha, in px from 0, each 1 px too small in both directions (the authors subtract 1 twice: as it
    stands the mean of histology less micro-CT, which their affine fit makes 0, is 1.000). ``outputpoints.txt`` are the
    same after the authors' B-spline: no landmarks of these two images. Nothing is in mm.
    """
    folder = data_folder("corr_histology_microct")
    with zipfile.ZipFile(folder / "manual_matched_points_matlabimport.xlsx") as held:
        sheet = held.read("xl/worksheets/sheet1.xml").decode()
    picked: dict[int, dict[str, float]] = {}
    for column, row, value in re.findall(r'<c r="([A-G])(\d+)"[^>]*><v>([^<]*)</v>', sheet):
        picked.setdefault(int(row) - 1, {})[column] = float(value)
    fixed = np.array([(p["C"], p["B"]) for n, p in sorted(picked.items()) if n > 0 and n not in LEFT_OUT]) - CROP_XY
    return fixed, np.loadtxt(folder / "microct_pts.txt", skiprows=2) + 1


def turned(image: NDArray[np.uint8], number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Affine]:
    """Return an image and its mask after a random transform of the full range, and that; number 0 leaves it."""
    rows, cols = image.shape
    mask = data_mask(image)
    if number == 0:
        return image, mask, Affine()
    angle, log_scale, x, y = RANGES["full"].draw(np.random.default_rng((4711, number)))
    scale = np.exp(log_scale)
    about = Affine.about(Affine.similarity(scale, angle, x * cols, y * rows), [(cols - 1) / 2, (rows - 1) / 2])
    drawn, known = (
        cv2.warpAffine(a, about.matrix[:2], (cols, rows), flags=cv2.INTER_LINEAR)
        for a in (image, mask.astype(np.float32))
    )
    return np.asarray(drawn, np.uint8), np.asarray(known > 0.99), about


def microct() -> Iterator[RealPair]:
    """Yield histology and micro-CT, as they are and turned."""
    folder = data_folder("corr_histology_microct")
    fixed, moving = (read(folder / f"{n}.mha") for n in ("histology", "microct"))
    one, two = landmarks()
    for k in range(TURNED + 1):
        image, mask, at = turned(moving, k)
        pair = CorrelativePair("microct", fixed, image, at)
        yield RealPair("microct/turned" if k else "microct/as it is", pair, (data_mask(fixed), mask), (one, at(two)))


def clem() -> Iterator[RealPair]:
    """Yield electrons and fluorescence of two sections, as they are and turned."""
    folder = data_folder("clem_deepclem")
    for section in ("s8", "s9"):
        fixed, moving = (read(folder / f"{n}_raw" / f"{section}_ds.png") for n in ("EM", "FM"))
        for k in range(TURNED + 1):
            image, mask, at = turned(moving, k)
            scene = f"clem {section}/turned" if k else f"clem {section}/as it is"
            yield RealPair(scene, CorrelativePair(section, fixed, image, at), (np.ones(fixed.shape, bool), mask))


def strangers() -> Iterator[RealPair]:
    """Yield images of different specimens."""
    jaw, cells = data_folder("corr_histology_microct"), data_folder("clem_deepclem")
    images = {n: read(jaw / f"{n}.mha") for n in ("histology", "microct")}
    images |= {n: read(cells / f"{n}_raw" / "s8_ds.png") for n in ("EM", "FM")}
    for one, other in (("histology", "EM"), ("histology", "FM"), ("microct", "EM"), ("microct", "FM")):
        for fixed, moving in ((one, other), (other, one)):
            for k in range(1, 3):
                image, mask, _ = turned(images[moving], k)
                pair = CorrelativePair(f"{fixed} {moving}", images[fixed], image, None)
                yield RealPair("strangers, real", pair, (data_mask(images[fixed]), mask))


REAL: dict[str, Callable[[], Iterator[RealPair]]] = {"microct": microct, "clem": clem, "strangers": strangers}


def measured(name: str, methods: Sequence[RegisterMethod], kept: Kept) -> list[RegisterScore]:
    """Return the scores of a set of real pairs."""
    out: list[RegisterScore] = []
    pairs = list(REAL[name]())
    for method in methods:
        guess = network_guess(method.config)
        for k, one in enumerate(pairs):
            key = ("register", __version__, one.scene, k, "real", method.name, repr(method))
            found = kept.get(RegisterScore, *key)
            if found is None:
                measure = one.measure if one.landmarks is not None else None
                found = [scored(one.scene, k, one.pair, method, guess, masks=one.masks, measure=measure)]
                kept.put(found, *key)
            out += found
    return sorted(out, key=lambda s: s.scene)


def beside_best(rows: Sequence[Row]) -> list[Row]:
    """Return rows with the landmarks' error over that of their own best similarity fit."""
    one, two = landmarks()
    best = float(np.hypot(*(Affine.from_matrix(fit_similarity(one, two))(one) - two).T).mean())
    return [replace(r, values={**r.values, "of_best": r.values["error_px"] / best, "best_px": best}) for r in rows]


def markdown(rows: Sequence[Row]) -> str:
    """Return a table: a line a scene, a column a method; failed %, median error (95 %) in px, CPU ms (of SIFT's)."""
    methods = list(dict.fromkeys(r.configuration for r in rows))
    lines = ["| | " + " | ".join(methods) + " |", "|---" * (len(methods) + 1) + "|"]
    for scene in dict.fromkeys(r.scene for r in rows):
        mine = {r.configuration: r.values for r in rows if r.scene == scene}
        lines.append(f"| {scene} | " + " | ".join(told(mine[m]) if m in mine else "-" for m in methods) + " |")
    return "\n".join(lines)


def told(values: dict[str, float]) -> str:
    """Return a cell."""
    times = f"{values['cpu_ms']:.0f} ms" + (f" ({values['of_sift']:.2f})" if "of_sift" in values else "")
    if "recognised" in values:
        return f"{100 * values['recognised']:.0f} % refused, {times}"
    error, worse = (f"{v:.2f}" if np.isfinite(v) else "-" for v in (values["error_px"], values["error_95_px"]))
    more = f", {values['of_best']:.2f} of best" if np.isfinite(values.get("of_best", np.nan)) else ""
    r2 = min((values.get(f"r2_{p}", np.nan) for p in PARAMETERS), default=np.nan)
    more += f", R2 {r2:.4f}" if np.isfinite(r2) else ""
    return f"{100 * values['failed']:.0f} %, {error} ({worse}){more}, {times}"


def timed(count: int) -> list[tuple[str, str, float, float]]:
    """Return (scene, way, error of the corners in px, processor ms) of each pair of the full range by each way.

    The passes are those of the network alone, from two images in memory to a transform; one thread.
    """
    net = load_two_headed("shipped").net
    methods = [read_method(name) for name in ("auto", "sift", "ecc")]
    guesses = {m.name: network_guess(m.config) for m in methods}  # this warms the network up and sets its threads, too
    out = []
    for scene, k in ((f"{kind}/full", k) for k in range(count) for kind in KINDS):
        pair = made_pair(scene, k)
        for passes, way in ((1, "one pass"), (2, "two passes")):
            began = time.process_time()
            found = predict(pair.fixed, grey(pair.moving), net=net, passes=passes).to_moving
            spent = time.process_time() - began
            out.append((scene, way, corner_error_px(found, pair.to_moving, pair.fixed.shape), 1000 * spent))
        for method in methods:
            score = scored(scene, k, pair, method, guesses[method.name])
            error = np.inf if score.error_px is None or not score.matched else score.error_px
            out.append((scene, method.name, error, 1000 * score.cpu_s))
    return out


def time_table(found: Sequence[tuple[str, str, float, float]]) -> str:
    """Return a table: a line a scene, a column a way; median error in px, median CPU ms (over SIFT's, over ECC's)."""
    ways = list(dict.fromkeys(way for _, way, _, _ in found))
    lines = ["| | " + " | ".join(ways) + " |", "|---" * (len(ways) + 1) + "|"]
    for scene in [*dict.fromkeys(scene for scene, *_ in found), ALL]:
        error, spent = (
            {w: float(np.median([f[k] for f in found if f[1] == w and scene in (f[0], ALL)])) for w in ways}
            for k in (2, 3)
        )
        cells = (
            f"{error[w]:.2f} px, {spent[w]:.0f} ms ({spent[w] / spent['sift']:.2f}, {spent[w] / spent['ecc']:.2f})"
            for w in ways
        )
        lines.append(f"| {scene} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=["made", *REAL], default=["made", *REAL])
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES), help="of 'made'")
    parser.add_argument("--methods", nargs="+", default=list(DEFAULT))
    parser.add_argument("--pairs", type=int, default=13, help="of each scene of 'made'")
    parser.add_argument("--out", type=Path, default=Path("register-benchmark"), help="folder that remembers")
    parser.add_argument("--anew", action="store_true", help="measure again what it remembers")
    parser.add_argument("--time", action="store_true", help="only: what a pass of the network costs")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--check", type=Path)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.time:
        print(time_table(timed(args.pairs)) + f"\n\nload average {os.getloadavg()[0]:.1f}")
        return 0
    ledger = read_ledger(args.check) if args.check else None
    kept = Kept(args.out / "measured")
    if args.anew:
        for path in (args.out / "measured").glob("*.json"):
            path.unlink()
    args.out.mkdir(parents=True, exist_ok=True)
    methods, notes = usable_methods(args.methods, 1)
    rows: list[Row] = []
    for name in args.sets:
        if name == "made":
            scores = evaluate_registrations(args.scenes, args.pairs, methods, guesser=network_guess, kept=kept)
            write_register_evaluation(args.out / "report.html", args.out / "parameters.png", scores, notes=notes)
            some = [*register_rows(scores), *(r for r in pooled_rows(scores) if r.scene == ALL)]
        else:
            scores = measured(name, methods, kept)
            some = register_rows(scores)
            some = beside_best(some) if name == "microct" else some
        for s in (s for s in scores if s.problem):
            print(f"{s.scene} {s.configuration}: {s.problem}", file=sys.stderr)
        print(markdown(some) + "\n", flush=True)
        rows += some
        if args.write:
            write_ledger(args.write, "register", some)
    for line in notes:
        print(f"note: {line}", file=sys.stderr)
    fell = check("register", rows, ledger) if ledger is not None else []
    for line in fell:
        print(f"fell: {line}", file=sys.stderr)
    return 1 if fell else 0


if __name__ == "__main__":
    sys.exit(main())
