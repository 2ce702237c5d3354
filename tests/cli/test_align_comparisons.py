"""``synth stack``, ``evaluate align`` and ``compare-align`` as a user calls them."""

import json
import sys

import cv2
import pytest

from demis_ij.cli import main
from demis_ij.synth.stack import CASES, made_up, write_stack


@pytest.fixture
def demis(monkeypatch, capsys):
    """Call the command line as a user does; return exit code, output and errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["demis-ij", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call


@pytest.fixture(scope="module")
def stacks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacks")
    for name in ("moderate", "none"):
        write_stack(folder / name, made_up(96, 4, 1), name, CASES[name], 1, source={"made_up": True})
    return folder


def test_stacks_are_made_once(demis, tmp_path):
    made = ("synth", "stack", "--out", tmp_path, "--size", 64, "--case", "moderate", "--case", "none", "--json")

    code, said, _ = demis(*made, "--count", 3)
    assert (code, json.loads(said)["made"]) == (0, {"moderate": True, "none": True})
    assert len(list((tmp_path / "moderate" / "images").iterdir())) == 3
    code, said, _ = demis(*made, "--count", 3)
    assert (code, json.loads(said)["made"]) == (0, {"moderate": False, "none": False})
    code, _, errors = demis(*made, "--count", 4)
    assert (code, errors.count("\n")) == (2, 1)
    assert "another stack" in errors


def test_options_of_a_volume_need_one(demis, tmp_path):
    code, _, errors = demis("synth", "stack", "--out", tmp_path, "--every", 3)
    assert (code, "volume of your own" in errors) == (2, True)
    code, _, errors = demis("synth", "stack", "--out", tmp_path, "--case", "modrate")
    assert (code, "there are none, mild" in errors) == (2, True)


def test_methods_are_measured_and_held_against_a_ledger(demis, stacks, tmp_path):
    ledger, out = tmp_path / "ledger.json", tmp_path / "e"
    measure = ("evaluate", "align", "--out", out, "--method", "joint", "--quiet")

    code, said, _ = demis(*measure, stacks, "--method", "chain:flow", "--write", ledger)
    assert code == 0
    assert [tuple(line.split()[:2]) for line in said.splitlines()[1:5]] == [
        (stack, method) for stack in ("moderate", "none") for method in ("joint", "chain:flow")
    ]
    assert (out / "table.csv").read_text().startswith("scene,configuration")
    held = json.loads(ledger.read_text())
    code, _, errors = demis(*measure, stacks / "moderate", "--check", ledger)
    assert (code, errors) == (0, "")
    held["align | moderate | joint"]["dice"] += 0.1
    ledger.write_text(json.dumps(held))
    code, _, errors = demis(*measure, stacks / "moderate", "--check", ledger)
    assert code == 1
    assert "fell: align | moderate | joint: dice" in errors


def test_methods_are_compared_where_nothing_is_known(demis, stacks, tmp_path):
    images, masks = stacks / "moderate" / "images", stacks / "moderate" / "masks"

    code, said, _ = demis(
        "compare-align", images, "--masks", masks, "--out", tmp_path / "c", "--method", "joint",
        "--method", "chain:affine", "--json",
    )  # fmt: skip

    assert code == 0
    table = {line["method"]: line for line in json.loads(said)["table"]}
    assert set(table) == {"joint", "chain:affine"}
    assert table["joint"]["after"] > table["joint"]["NCC before"]
    assert table["joint"]["smallest Jacobian"] > 0
    picture = cv2.imread(str(tmp_path / "c" / "cross_sections_xz.png"), cv2.IMREAD_GRAYSCALE)
    assert picture.shape[0] == 3 * (18 + 160)  # before and two methods: a title and a strip
    assert picture.std() > 20


def test_what_cannot_be_measured_is_refused_in_a_line(demis, tmp_path):
    for words, said in (
        (("evaluate", "align", tmp_path, "--out", tmp_path / "o"), "no stack with truth"),
        (("compare-align", tmp_path / "nowhere", "--out", tmp_path / "o"), "nowhere"),
        (("compare-align", tmp_path, "--out", tmp_path / "o", "--method", "chain:flwo"), ""),
    ):
        code, _, errors = demis(*words)
        assert (code, errors.count("\n")) == (2, 1)
        assert said in errors


def test_chains_of_plugins_need_a_fiji_and_say_so_at_once(demis, stacks, tmp_path, monkeypatch):
    monkeypatch.setattr("demis_ij.imagej.plugins.running_session", lambda: None)  # other tests may have one
    images, out = stacks / "moderate" / "images", tmp_path / "c"
    bare = tmp_path / "Fiji"
    (bare / "jars").mkdir(parents=True)
    (bare / "plugins").mkdir()
    compare = ("compare-align", images, "--out", out, "--method", "chain:flow", "--method", "chain:bunwarpj")
    align = ("align", images, "--out", out, "--method", "chain:elastic")

    for words, reason in (
        (compare, "no Fiji was named: give the folder of one (--fiji PATH"),
        ((*compare, "--fiji", tmp_path / "nowhere"), "there is no such folder; needed the folder of a Fiji"),
        ((*compare, "--fiji", bare), "has no bUnwarpJ (no jar bUnwarpJ): run Help > Update..."),
        ((*align, "--fiji", bare, "--dry-run"), "has no Elastic Stack Alignment (no jar mpicbg)"),
        ((*align, "--set", f"fiji={bare}"), "has no Elastic Stack Alignment (no jar mpicbg)"),
    ):
        code, _, errors = demis(*words)
        assert (code, errors.count("\n"), reason in errors) == (2, 1, True), errors
    assert not out.exists()


@pytest.mark.java
def test_a_chain_of_bunwarpj_runs_by_command(demis, stacks, tmp_path, fiji_folder, imagej_session):
    code, said, errors = demis(
        "compare-align", stacks / "moderate" / "images", "--out", tmp_path / "c", "--method", "chain:bunwarpj",
        "--fiji", fiji_folder, "--json",
    )  # fmt: skip

    assert code == 0, errors
    (row,) = json.loads(said)["table"]  # nothing that the plugin prints is between
    assert (row["method"], row["problem"]) == ("chain:bunwarpj", "")
    assert row["moved px"] > 0
