"""``demis-ij evaluate`` as people and programs use it."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
from evaluated import scene

from demis_ij import synth
from demis_ij.cli import main
from demis_ij.evaluate import pairs
from demis_ij.evaluate.scenes import of_dataset, of_path
from demis_ij.synth import GridSpec


@pytest.fixture
def demis(monkeypatch, capsys):
    """Call the command line as a user does."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["demis-ij", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synth.write_scene(scene(), tmp_path_factory.mktemp("evaluated") / "scene", formats=())


QUICK = ("--matcher", "sift@1,refine=false", "--quiet", "--pictures", 0)


def test_pairs_give_a_table_files_and_a_ledger_that_checks(demis, folder, tmp_path):
    out, ledger = tmp_path / "out", tmp_path / "ledger.json"
    code, said, _ = demis("evaluate", "pairs", folder, *QUICK, "--out", out, "--write", ledger)
    assert code == 0
    assert "failed textured" in said
    assert {p.name for p in out.iterdir()} == {
        "run.json", "measured", "report.html", "table.csv", "pairs.csv", "evaluation.json",
    }  # fmt: skip
    (key,) = json.loads(ledger.read_text())
    assert key == "pairs | scene | sift@1,refine=false"
    code, said, errors = demis("evaluate", "pairs", folder, *QUICK, "--out", out, "--check", ledger, "--json")
    assert (code, errors) == (0, "")
    told = json.loads(said)
    assert told["fell"] == []
    assert told["table"][0]["values"]["textured_failed"] == 0


def test_accuracy_that_fell_is_exit_code_one_and_a_line_a_figure(demis, folder, tmp_path):
    ledger = tmp_path / "ledger.json"
    demis("evaluate", "pairs", folder, *QUICK, "--out", tmp_path / "out", "--write", ledger)
    held = json.loads(ledger.read_text())
    for row in held.values():
        row |= {"inliers": 10 * row["inliers"], "corner_median_px": 1e-4}
    ledger.write_text(json.dumps(held))
    code, _, errors = demis("evaluate", "pairs", folder, *QUICK, "--out", tmp_path / "out", "--check", ledger)
    assert code == 1
    fell = [line for line in errors.splitlines() if line.startswith("fell: ")]
    assert len(fell) == 2
    assert any("inliers" in line for line in fell)


def test_grids_give_a_table(demis, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "demis_ij.evaluate.grids.missing_measures", lambda: dict.fromkeys(("ssim", "fsim", "brisque"), "x")
    )
    out = tmp_path / "out"
    code, said, _ = demis("evaluate", "grids", folder, "--matcher", "sift@1", "--quiet", "--out", out)
    assert code == 0
    assert "neighbours px" in said
    assert (out / "grids.csv").is_file()


def test_the_same_command_goes_on_and_anew_measures_again(demis, folder, tmp_path, monkeypatch):
    command = ("evaluate", "pairs", folder, *QUICK, "--out", tmp_path / "out")
    demis(*command)
    asked = []
    real = pairs._scene
    monkeypatch.setattr(pairs, "_scene", lambda *a: asked.append(1) or real(*a))
    demis(*command)
    assert asked == []
    demis(*command, "--anew")
    assert asked == [1]


def test_an_interruption_says_that_the_same_command_goes_on(demis, folder, tmp_path, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pairs, "_scene", interrupt)
    code, _, errors = demis("evaluate", "pairs", folder, *QUICK, "--out", tmp_path / "out")
    assert code == 130
    assert "the same command goes on" in errors


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ((), "nothing to measure on"),
        (("--sets", "A,Q"), "no set 'Q'; there are A"),
        (("nowhere",), "no such folder"),
        (("FOLDER", "--split", "test"), "needs a dataset"),
        (("--sets", "A", "--split", "test"), "needs a dataset folder"),
        (("FOLDER", "--matcher", "lofter"), "did you mean 'loftr'"),
        (("FOLDER", "--matcher", "sift,refin=no"), "did you mean 'refine'"),
        (("FOLDER", "--matcher", "loftr,weights=/none.safetensors"), "none.safetensors"),
        (("FOLDER", "--check", "nowhere.json"), "nowhere.json: cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_two(demis, folder, tmp_path, words, problem):
    words = [folder if w == "FOLDER" else w for w in words]
    code, said, errors = demis("evaluate", "pairs", *words, "--out", tmp_path / "out", "--quiet")
    assert (code, said) == (2, "")
    assert len(errors.splitlines()) == 1
    assert problem in errors
    assert not (tmp_path / "out").exists()


def test_folders_without_truth_or_without_a_tile_are_refused(demis, folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    _, _, errors = demis("evaluate", "pairs", empty, "--out", tmp_path / "out")
    assert "holds no truth.json: only tiles whose truth is known" in errors
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    next((copy / "tiles").glob("*.tif")).unlink()
    code, _, errors = demis("evaluate", "pairs", copy, "--out", tmp_path / "out")
    assert code == 2
    assert "is missing" in errors
    (copy / "truth.json").write_text("{}")
    assert "truth.json" in demis("evaluate", "pairs", copy, "--out", tmp_path / "out")[2]


def test_a_folder_of_something_else_and_one_of_grids_are_not_written_into(demis, folder, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    code, _, errors = demis("evaluate", "pairs", folder, *QUICK, "--out", tmp_path)
    assert code == 2
    assert "is not empty" in errors
    out = tmp_path / "out"
    demis("evaluate", "pairs", folder, *QUICK, "--out", out)
    code, _, errors = demis("evaluate", "grids", folder, "--matcher", "sift", "--out", out)
    assert code == 2
    assert "holds another run" in errors


def test_sets_are_generated_by_name_and_seed(demis, tmp_path, monkeypatch):
    tiny = GridSpec(rows=1, cols=2, tile_px=160, overlap=0.3, rotation_deg=0, shift_frac=0.01)
    monkeypatch.setitem(synth.SETS, "A", tiny)
    code, said, _ = demis("evaluate", "pairs", "--sets", "A", "--seed", 5, *QUICK, "--out", tmp_path / "o", "--json")
    assert code == 0
    assert [r["scene"] for r in json.loads(said)["table"]] == ["A seed 5"]


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    from demis_ij.config import GridsConfig
    from demis_ij.synth.dataset import make_dataset

    out = tmp_path_factory.mktemp("dataset") / "d"
    config = GridsConfig(
        generated=2, generated_px=420, tile_px=160, rows=2, cols=2, overlap=0.25, rotation_deg=1, shift_frac=0.02,
        stage_error_frac=0, resin_frac=0, missing_frac=0, decoy_frac=0, validation_frac=0, test_frac=0.5,
    )  # fmt: skip
    make_dataset([], out, config, seed=1)
    return out


def test_the_grids_of_a_split_are_measured(demis, dataset, tmp_path):
    every, test = of_path(dataset), of_dataset(dataset, "test")
    assert (len(every), len(test)) == (2, 1)
    code, said, _ = demis("evaluate", "pairs", dataset, "--split", "test", *QUICK, "--out", tmp_path / "out", "--json")
    assert code == 0
    assert [r["scene"] for r in json.loads(said)["table"]] == [test[0].name]
    assert json.loads(said)["table"][0]["values"]["textured_pairs"] == 4


def test_a_dataset_whose_split_leaks_or_is_not_there_is_refused(demis, dataset, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    lists = sorted((copy / "splits").glob("*_list.txt"))
    name = of_dataset(dataset, "test")[0].name
    for path in lists:
        if name not in path.read_text():
            path.write_text(path.read_text() + name + "\n")
    code, _, errors = demis("evaluate", "pairs", copy, *QUICK, "--out", tmp_path / "out")
    assert code == 2
    assert "leaks" in errors
    code, _, errors = demis("evaluate", "pairs", dataset, "--split", "tset", *QUICK, "--out", tmp_path / "out")
    assert code == 2
    assert "no split 'tset'" in errors
