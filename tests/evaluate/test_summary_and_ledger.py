"""Scores to rows, intervals, and the ledger."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluated import by_hand

from demis_ij.errors import FormatError, InputError
from demis_ij.evaluate import GridScore
from demis_ij.evaluate.ledger import TOLERANCES, check, key_of, read_ledger, write_ledger
from demis_ij.evaluate.scores import from_json, to_json
from demis_ij.evaluate.summary import ALL, Row, grid_rows, pair_differences, pair_rows
from demis_ij.evaluate.tables import (
    COLUMNS,
    csv_table,
    json_rows,
    score_table,
    terminal_table,
)


@pytest.fixture
def scores():
    return [
        *[by_hand(error=e, pair=(f"t{i}", "x"), cpu_s=0.1 * (i + 1)) for i, e in enumerate((0.1, 0.2, 0.3, 12.0))],
        by_hand(accepted=False, pair=("t4", "x")),
        by_hand(kind="weak", error=0.5, pair=("w0", "x")),
        by_hand(kind="weak", accepted=False, pair=("w1", "x")),
    ]


def test_a_row_by_hand(scores):
    (row,) = pair_rows(scores)
    v = row.values
    assert (v["textured_failed"], v["textured_pairs"]) == (2, 5)
    assert (v["weak_failed"], v["weak_pairs"], v["wrong"]) == (1, 2, 1)
    assert v["corner_median_px"] == pytest.approx(0.3)  # of 0.1, 0.2, 0.3, 12 and infinity
    assert v["failure_rate"] == pytest.approx(0.4)
    assert v["weak_failure_rate"] == pytest.approx(0.5)
    assert v["coverage"] == pytest.approx(4 * 0.5 / 5)  # the rejected pair covers nothing
    assert v["inliers"] == pytest.approx(4 * 90 / 5)
    assert v["reprojection_inliers_px"] == pytest.approx((0.1 + 0.2 + 0.3 + 12) / 2 / 4)
    assert v["cpu_s"] == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.2 + 0.2 + 0.2) / 7)
    # recall at 1 px: (0, 0), (0.1, 1/5), (0.2, 2/5), (0.3, 3/5), (1, 3/5), corners in fours
    step = [0, *np.repeat([0.1, 0.2, 0.3], 4), 1]
    height = [0, *(np.arange(1, 13) / 20), 0.6]
    assert v["auc_1px"] == pytest.approx(np.trapezoid(height, step))


def test_scenes_are_pooled_when_there_are_several(scores):
    rows = pair_rows([*scores, *(replace(s, scene="other") for s in scores)])
    assert [r.scene for r in rows] == ["s", "other", ALL]
    assert rows[2].values["textured_pairs"] == 10
    assert rows[2].values["auc_1px"] == pytest.approx(rows[0].values["auc_1px"], abs=0.03)


def test_intervals_hold_the_figure_and_shrink_with_more_pairs():
    rng = np.random.default_rng(3)
    widths = []
    for n in (20, 320):
        (row,) = pair_rows([by_hand(error=float(e), pair=(str(i), "x")) for i, e in enumerate(rng.uniform(0, 1, n))])
        low, high = row.intervals["corner_median_px"]
        assert low <= row.values["corner_median_px"] <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
    # of the mean of coverage the normal theory knows the width: 2 * 1.96 * sd / sqrt(n)
    held = rng.uniform(0, 1, 200)
    (row,) = pair_rows([by_hand(coverage=float(c), pair=(str(i), "x")) for i, c in enumerate(held)])
    low, high = row.intervals["coverage"]
    assert high - low == pytest.approx(2 * 1.96 * held.std() / np.sqrt(200), rel=0.15)


def test_a_difference_on_the_same_pairs_is_surer_than_the_figures_themselves():
    rng = np.random.default_rng(5)
    hard = rng.uniform(0.1, 3, 60)
    first = [by_hand(error=float(e), pair=(str(i), "x"), coverage=0.5) for i, e in enumerate(hard)]
    second = [replace(s, configuration="two", corner_px=tuple(e + 0.05 for e in s.corner_px)) for s in first]
    (row,) = pair_differences([*first, *second])
    low, high = row.intervals["corner_median_px"]
    assert (row.configuration, row.scene) == ("two", "less one")
    assert row.values["corner_median_px"] == pytest.approx(0.05)
    assert 0 < low <= high
    wide = pair_rows(first)[0].intervals["corner_median_px"]
    assert high - low < 0.2 * (wide[1] - wide[0])
    assert row.intervals["coverage"] == (0, 0)


def test_one_configuration_has_no_difference_and_what_failed_has_none_known(scores):
    assert pair_differences(scores) == []
    lost = [by_hand(configuration="two", accepted=False, pair=s.pair) for s in scores]
    (row,) = pair_differences([*scores, *lost])
    assert row.values["failure_rate"] == pytest.approx(0.6)
    assert row.values["corner_median_px"] == math.inf


def test_few_pairs_have_no_interval(scores):
    assert pair_rows(scores[:4])[0].intervals == {}


def test_pictures_are_averaged_over_textured_pairs_that_have_them(scores):
    with_pictures = [
        replace(scores[0], measures={"stitched_ssim": 0.8}),
        replace(scores[1], measures={"stitched_ssim": 0.9}),
        replace(scores[5], measures={"stitched_ssim": 0.1}),
        *scores[2:5],
    ]
    (row,) = pair_rows(with_pictures)
    assert row.values["pictures"] == 2
    assert row.values["stitched_ssim"] == pytest.approx(0.85)


def test_a_grid_row_by_hand():
    one = GridScore(
        scene="g", configuration="c", tiles=4, components=2, by_stage=1, textured_px=(0.1, 0.2, 0.3), other_px=(9.0,),
        pair_corner_px=((0.1, 0.1, 0.1, 0.1),), textured_pairs=3, weak_pairs=1, weak_failed=1, cpu_s=8.0,
        measures={"mosaic_ssim": 0.9},
    )  # fmt: skip
    (row,) = grid_rows([one])
    v = row.values
    assert v["textured_global_median_px"] == pytest.approx(0.2)
    assert (v["global_max_px"], v["islands"], v["by_stage"], v["cpu_s_per_tile"]) == (9, 1, 1, 2)
    assert v["global_90_px"] == pytest.approx(np.quantile([0.1, 0.2, 0.3, 9], 0.9))
    assert v["auc_1px"] == pytest.approx(0.1 * 0.25 / 2 + 0.9)  # to the first of four equal errors, then upright
    assert v["mosaic_ssim"] == 0.9
    (failed,) = grid_rows([replace(one, problem="no", textured_px=(), other_px=(), pair_corner_px=(), measures={})])
    assert failed.values["failed_grids"] == 1
    assert math.isnan(failed.values["global_median_px"])


def test_scores_survive_json(scores):
    for s in scores:
        again = from_json(type(s), json.loads(json.dumps(to_json(s), allow_nan=False)))
        assert again == s


# --- the ledger -----------------------------------------------------------------------------------------------------


@pytest.fixture
def rows(scores):
    return pair_rows(scores)


def test_what_was_written_passes_its_own_check(rows, tmp_path):
    ledger = tmp_path / "new" / "ledger.json"
    write_ledger(ledger, "pairs", rows)
    assert check("pairs", rows, read_ledger(ledger)) == []
    write_ledger(ledger, "pairs", [replace(rows[0], configuration="other")])
    assert len(read_ledger(ledger)) == 2  # what was there stays


@pytest.mark.parametrize("name", ["textured_failed", "wrong", "corner_median_px", "coverage", "auc_1px", "inliers"])
def test_a_figure_that_fell_is_named(rows, tmp_path, name):
    ledger = tmp_path / "ledger.json"
    write_ledger(ledger, "pairs", rows)
    old, better = rows[0].values[name], TOLERANCES[name].larger_is_better
    worse = replace(rows[0], values={**rows[0].values, name: old / 2 if better else 2 * old + 1})
    (line,) = check("pairs", [worse], read_ledger(ledger))
    assert line.startswith(f"{key_of('pairs', rows[0])}: {name} {old:g} -> ")
    finer = replace(rows[0], values={**rows[0].values, name: old * 2 if better else old / 2})
    assert check("pairs", [finer], read_ledger(ledger)) == []


def test_a_figure_within_its_tolerance_has_not_fallen_and_one_that_is_gone_has(rows, tmp_path):
    ledger = tmp_path / "ledger.json"
    write_ledger(ledger, "pairs", rows)
    values = dict(rows[0].values)
    near = replace(rows[0], values={**values, "corner_median_px": values["corner_median_px"] * 1.1})
    assert check("pairs", [near], read_ledger(ledger)) == []
    for gone in (math.nan, math.inf):
        (line,) = check("pairs", [replace(rows[0], values={**values, "corner_median_px": gone})], read_ledger(ledger))
        assert line.endswith("not known")


def test_what_was_rounded_when_it_was_written_has_not_fallen(tmp_path):
    row = Row("s", "m", {"folded_frac": 0.003421784})
    write_ledger(tmp_path / "ledger.json", "elastic", [row])

    assert check("elastic", [row], read_ledger(tmp_path / "ledger.json")) == []
    more = replace(row, values={"folded_frac": 0.00344})
    assert len(check("elastic", [more], read_ledger(tmp_path / "ledger.json"))) == 1


def test_a_row_the_ledger_lacks_is_named_and_a_strange_ledger_refused(rows, tmp_path):
    ledger = tmp_path / "ledger.json"
    write_ledger(ledger, "pairs", rows)
    strange = replace(rows[0], scene="new")
    (line,) = check("pairs", [*rows, strange], read_ledger(ledger))
    assert line == "pairs | new | one: not in the ledger"
    with pytest.raises(InputError, match="knows none of these rows"):
        check("grids", rows, read_ledger(ledger))


@pytest.mark.parametrize("text", ["", "[]", '{"a": 3}', '{"a": {"b": "c"}}'])
def test_what_is_no_ledger_is_refused_and_not_overwritten(rows, tmp_path, text):
    ledger = tmp_path / "ledger.json"
    ledger.write_text(text)
    with pytest.raises(FormatError, match=r"ledger\.json"):
        write_ledger(ledger, "pairs", rows)
    assert ledger.read_text() == text
    with pytest.raises(FormatError, match="cannot be read"):
        read_ledger(tmp_path / "none.json")


def test_every_tolerance_has_a_reason_and_is_of_a_figure_that_there_is():
    figures = {c.key for columns in COLUMNS.values() for c in columns} | {"textured_global_90_px", "global_90_px"}
    figures |= {"good_share", "lost_share"}  # of the ledger only: the tables count pairs
    for name, tolerance in TOLERANCES.items():
        assert len(tolerance.reason) > 10
        assert name.removeprefix("all_") in figures, name


# --- tables ---------------------------------------------------------------------------------------------------------


def test_the_terminal_table_has_a_line_a_figure_and_says_what_is_not_installed(rows):
    other = replace(rows[0], configuration="two", values={**rows[0].values, "corner_median_px": math.inf})
    text = terminal_table("pairs", [*rows, other], {"fsim": "piq is not installed: pip install 'demis_ij[evaluate]'"})
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    assert len(lines) == 1 + len(COLUMNS["pairs"])
    assert lines["failed textured"].split()[-2:] == ["2/5", "2/5"]
    assert lines["corner px"].split()[-1] == "∞"
    assert lines["overlap FSIM"].count("not installed") == 2
    assert lines["overlap SSIM"].split()[-1] == "–"


def test_the_csv_holds_every_figure_and_its_interval(rows):
    head, line = csv_table("pairs", rows, {"ssim": "why"}).splitlines()
    told = dict(zip(head.split(","), line.split(","), strict=True))
    assert told["textured_failed"] == "2"
    assert told["stitched_ssim"] == "not installed"
    assert float(told["coverage_low"]) <= float(told["coverage"]) <= float(told["coverage_high"])
    assert all(c.key in told for c in COLUMNS["pairs"])


def test_every_pair_is_a_line_and_json_holds_no_strange_number(scores, rows):
    head, *lines = score_table(scores).splitlines()
    assert len(lines) == len(scores)
    assert "drawn" not in head
    rejected = dict(zip(head.split(","), lines[4].split(","), strict=True))
    assert (rejected["accepted"], rejected["corner_1_px"], rejected["overlap_error_px"]) == ("False", "inf", "")
    odd = Row("s", "c", {"a": math.nan, "b": math.inf}, {"a": (math.nan, 1.0)})
    text = json.dumps(json_rows([*rows, odd]), allow_nan=False)
    assert json.loads(text)[1]["values"] == {"a": None, "b": "inf"}


def test_the_how_to_pages_explain_every_figure_of_the_tables():
    pages = Path(__file__).resolve().parents[2] / "docs" / "howto"
    where = {"align": "stacks.md", "register": "register-measured.md", "style": "tiers.md"}
    for kind, columns in COLUMNS.items():
        page = (pages / where.get(kind, "evaluate.md")).read_text(encoding="utf-8")
        for column in columns:
            assert re.search(rf"(?<!\w){re.escape(column.head.strip())}(?!\w)", page), column.head
