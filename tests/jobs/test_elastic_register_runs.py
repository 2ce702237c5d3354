"""register --model elastic and --style, as jobs: what is bent is found, files hold it, the image itself is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch

from demis_ij.config.registering import RegisterConfig
from demis_ij.errors import InputError
from demis_ij.fields import dense, thin_plate
from demis_ij.formats.warps import read_npz
from demis_ij.formats.warps_bunwarpj import read_elastic, read_raw_transformation
from demis_ij.geometry import Box
from demis_ij.jobs.register import files as register_files_of_run
from demis_ij.jobs.register.pairs import Pair, run_pairs
from demis_ij.jobs.register.registering import register_files
from demis_ij.jobs.register.runs import run_register
from demis_ij.nets.style import Form, Generator
from demis_ij.nets.style_weights import save_style
from demis_ij.synth.correlative_views import views

SIDE = 256
BOX = Box.of_shape((SIDE, SIDE))
ELASTIC = RegisterConfig(model="elastic", weights="none")


@pytest.fixture(scope="module")
def bent_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fixed and moving image, and the true offsets (2, H, W): fixed(x, y) = moving(x + dx, y + dy)."""
    moving = views("tissue", 31, SIDE, deformed=False).sem
    rng = np.random.default_rng(4)
    truth = dense(thin_plate(rng.uniform(20, SIDE - 20, (6, 2)), rng.normal(0, 4, (6, 2)), (SIDE, SIDE), 4), BOX)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    fixed = cv2.remap(moving, x + truth[0], y + truth[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    fixed = np.clip(fixed + rng.normal(0, 6, fixed.shape), 0, 255).astype(np.uint8)
    return fixed, moving, truth


@pytest.fixture
def pair(tmp_path: Path, bent_pair) -> tuple[Path, Path]:
    """The fixed image in 16 bit, the moving one in colours that are not grey."""
    fixed, moving, _ = bent_pair
    tifffile.imwrite(tmp_path / "fixed.tif", fixed.astype(np.uint16) * 211)
    cv2.imwrite(str(tmp_path / "moving.png"), np.dstack([moving, 255 - moving // 4, moving // 2 + 60]))
    return tmp_path / "fixed.tif", tmp_path / "moving.png"


def residual(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.median(np.hypot(*(found - truth))[24:-24, 24:-24]))


def test_what_is_bent_is_found_and_every_file_holds_it(tmp_path: Path, pair, bent_pair) -> None:
    truth = bent_pair[2]

    result = run_register(*pair, tmp_path / "run", ELASTIC)

    facts = result.facts["elastic"]
    assert facts["better_than_nothing"]
    assert facts["tier"] == "good"
    assert facts["folded_frac"] == 0
    assert np.hypot(*truth).mean() > 2  # px: there was something to do
    (warp,) = read_npz(result.files["warp"]).warps
    assert np.load(result.files["warp"])["offsets"].shape[:1] == (2,)
    found = dense(warp, BOX)
    assert residual(found, truth) < 0.3
    assert residual(dense(read_raw_transformation(result.files["bunwarpj"]), BOX), found) < 0.01
    assert residual(dense(read_elastic(result.files["elastic"], (SIDE, SIDE), stride=1), BOX), found) < 0.1
    assert json.loads((tmp_path / "run/registration.json").read_text())["elastic"] == facts
    page = result.files["report"].read_text()
    assert "Bending" in page
    assert page.count("data:image/jpeg;base64,") >= 3


def test_the_registered_image_is_the_untouched_original_drawn_anew(tmp_path: Path, pair) -> None:
    before = {p: p.read_bytes() for p in pair}

    result = run_register(*pair, tmp_path / "run", ELASTIC)

    assert {p: p.read_bytes() for p in pair} == before
    registered = tifffile.imread(result.files["registered"])
    assert (registered.shape, registered.dtype) == ((SIDE, SIDE, 3), np.uint8)
    colours = cv2.imread(str(pair[1]))[..., ::-1]
    (warp,) = read_npz(result.files["warp"]).warps
    points = np.array([[100.0, 90.0], [180.0, 140.0]])
    for (x, y), at in zip(points.astype(int), warp(points), strict=True):
        known = cv2.remap(colours, *at.astype(np.float32).reshape(2, 1, 1), cv2.INTER_LINEAR)[0, 0]
        np.testing.assert_allclose(registered[y, x], known, atol=6)


def test_images_that_are_bent_reduced_give_a_warp_in_px_of_the_files(tmp_path: Path, pair, bent_pair) -> None:
    small = RegisterConfig(model="elastic", weights="none", bend_side_px=160)

    result = run_register(*pair, tmp_path / "run", small)

    (warp,) = read_npz(result.files["warp"]).warps
    assert warp.shape == (SIDE, SIDE)
    assert residual(dense(warp, BOX), bent_pair[2]) < 0.5
    assert residual(dense(read_elastic(result.files["elastic"], (SIDE, SIDE), stride=1), BOX), bent_pair[2]) < 0.6


def test_what_is_said_to_be_there_instead_of_a_large_file_is_there(
    tmp_path: Path, pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_files_of_run, "MOST_RAW_PX", 100)

    for name, model in (("bent", "elastic"), ("straight", "similarity")):
        found = run_register(*pair, tmp_path / name, RegisterConfig(model=model, weights="none", start="none"))

        (said,) = (note for note in found.notes if "no bunwarpj_raw.txt" in note)
        assert (tmp_path / name / said.split("; ")[1].split()[0]).exists()


def test_landmarks_are_the_start_and_hold(tmp_path: Path, pair, bent_pair) -> None:
    truth = bent_pair[2]
    at = np.array([[40, 40], [200, 60], [120, 200], [60, 180]])
    rows = [f"{x},{y},{x + truth[0, y, x]:.3f},{y + truth[1, y, x]:.3f}" for x, y in at]
    points = tmp_path / "points.csv"
    points.write_text("\n".join(["fixed_x,fixed_y,moving_x,moving_y", *rows]))

    found = register_files(*pair, RegisterConfig(model="elastic", weights="none", landmarks=str(points)))

    assert found.registration.method == "landmarks"
    assert found.facts["sigma_px"] is None
    to = found.bending.to_moving(at.astype(float)) - at
    np.testing.assert_allclose(to, truth[:, at[:, 1], at[:, 0]].T, atol=0.5)
    assert residual(dense(found.bending.to_moving, BOX), truth) < 0.4


def test_landmarks_on_rows_that_a_reduced_picture_lacks_are_inside(tmp_path: Path) -> None:
    image = views("tissue", 3, 2 * 513 - 1, deformed=False).sem  # 1025 px, read as 512 of two each
    cv2.imwrite(str(tmp_path / "a.png"), image)
    points = tmp_path / "points.csv"
    points.write_text("fixed_x,fixed_y,moving_x,moving_y\n1024,1024,1024,1024\n5,5,5,5\n1024,4,1024,4\n")
    config = RegisterConfig(
        model="elastic", weights="none", landmarks=str(points), side_px=128, bend_side_px=128, device="cpu"
    )

    found = register_files(tmp_path / "a.png", tmp_path / "a.png", config)

    assert found.fixed.reduced == 2
    assert found.registration.method == "landmarks"
    assert np.abs(dense(found.to_moving, Box.of_shape(found.fixed.shape))).max() < 0.5


def test_what_is_dropped_of_one_pair_of_many_is_said_with_its_name(tmp_path: Path, pair) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)
    cv2.imwrite(str(tmp_path / "noise.png"), noise)
    pairs = [Pair(pair[0], tmp_path / "noise.png", "first"), Pair(pair[0], tmp_path / "noise.png", "second")]
    said: list[str] = []

    done = list(run_pairs(pairs, RegisterConfig(model="elastic", weights="none", start="none"), tell=said.append))

    assert not any(o.facts["elastic"]["better_than_nothing"] for o in done)
    assert [line.split(" is no better")[0] for line in said] == ["first: bending", "second: bending"]


def test_without_a_search_images_are_taken_to_lie_on_each_other(pair, bent_pair) -> None:
    found = register_files(*pair, RegisterConfig(model="elastic", weights="none", start="none"))

    assert found.registration.method == "none"
    assert json.dumps(found.facts)  # no NaN that JSON cannot hold
    assert "NaN" not in json.dumps(found.facts)
    assert residual(dense(found.bending.to_moving, BOX), bent_pair[2]) < 0.3


def test_what_bending_does_not_help_is_dropped_and_said(tmp_path: Path, pair) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (SIDE, SIDE), np.uint8) for _ in range(2)]
    for path, image in zip(pair, noise, strict=True):
        path.unlink()
        cv2.imwrite(str(path), image)

    found = register_files(*pair, RegisterConfig(model="elastic", weights="none", start="none"))

    assert not found.facts["elastic"]["better_than_nothing"]
    assert any("bending is no better than nothing and is dropped" in note for note in found.notes)
    assert np.abs(dense(found.bending.to_moving, BOX)).max() == 0


def test_what_makes_edges_worse_is_dropped_and_said(pair) -> None:
    shown = views("steel", 101, SIDE)
    cv2.imwrite(str(pair[1]), shown.lom[..., ::-1])
    tifffile.imwrite(pair[0], shown.sem)

    found = register_files(*pair, RegisterConfig(model="elastic", weights="none", start="none"))

    facts = found.facts["elastic"]
    assert facts["tier"] == "poor"  # light and electrons of steel have no greys in common
    assert not facts["better_than_nothing"]
    assert any("dropped" in note for note in found.notes)
    assert np.abs(dense(found.to_moving, BOX)).max() == 0


def test_two_that_do_not_match_are_not_bent(tmp_path: Path, pair) -> None:
    cv2.imwrite(str(pair[1]), views("steel", 7, SIDE, deformed=False).lom)

    result = run_register(*pair, tmp_path / "run", RegisterConfig(model="elastic", weights="none", reach="near"))

    assert not result.facts["matched"]
    assert "elastic" not in result.facts
    assert not (tmp_path / "run/warp.npz").exists()


# --- a style ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first_channel(tmp_path_factory) -> Path:
    """Weights of a style from colour to grey that was never trained."""
    torch.manual_seed(0)
    net = Generator(Form(source_channels=3, target_channels=1, widths=(4, 6))).eval()
    path = tmp_path_factory.mktemp("style") / "untrained.safetensors"
    save_style(path, net, "light", "electrons", {"step": 1})
    return path


def test_a_style_is_looked_at_and_thrown_away(tmp_path: Path, pair, first_channel: Path) -> None:
    styled = RegisterConfig(model="elastic", weights="none", start="none", style=str(first_channel))

    result = run_register(*pair, tmp_path / "run", styled)

    assert result.facts["style"]["restyled"] == "moving"
    assert cv2.imread(str(result.files["restyled"]), cv2.IMREAD_UNCHANGED).shape == (SIDE, SIDE)
    assert tifffile.imread(result.files["registered"]).shape == (SIDE, SIDE, 3)  # as it came, in colour
    assert "thrown away" in result.files["report"].read_text()


def test_auto_restyles_the_image_that_has_the_channels(pair, first_channel: Path) -> None:
    styled = RegisterConfig(weights="none", start="none", style=str(first_channel))

    assert register_files(pair[1], pair[0], styled).dressed.which == "fixed"


def test_other_weights_of_the_same_name_are_another_run(tmp_path: Path, pair, first_channel: Path) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(first_channel.read_bytes())
    styled = RegisterConfig(weights="none", start="none", style=str(own))
    run_register(*pair, tmp_path / "run", styled)
    own.write_bytes(first_channel.read_bytes() + b" ")

    with pytest.raises(InputError, match=r"another run|other settings|other images|changed"):
        run_register(*pair, tmp_path / "run", styled)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x,y\n1,2\n", "columns fixed_x, fixed_y, moving_x, moving_y"),
        ("fixed_x,fixed_y,moving_x,moving_y\n1,2,3,here\n", "line 2: moving_y is no number"),
        ("fixed_x,fixed_y,moving_x,moving_y\n1,2,3,4\n1,999,3,4\n", "landmark 2 lies at"),
        ("fixed_x,fixed_y,moving_x,moving_y\n1,2,3,nan\n", r"points.csv: a landmark is not finite"),
        ("fixed_x,fixed_y,moving_x,moving_y,weight\n1,2,3,4,\n5,6,7,8,2\n", "line 2: weight is no number"),
        ("fixed_x,fixed_y,moving_x,moving_y,weight\n1,2,3,4,1\n5,6,7,8,0\n", r"points.csv: .*found 0 of landmark 2"),
        ("", "columns"),
    ],
)
def test_landmarks_that_cannot_be_used_are_one_line(tmp_path: Path, pair, text: str, words: str) -> None:
    points = tmp_path / "points.csv"
    points.write_text(text)

    with pytest.raises(InputError, match=words) as caught:
        register_files(*pair, RegisterConfig(model="elastic", weights="none", landmarks=str(points), start="none"))

    assert "\n" not in str(caught.value)


def test_a_broken_file_of_bunwarpjs_is_named_once(tmp_path: Path, pair) -> None:
    points = tmp_path / "points.txt"
    points.write_text("Index\txSource\n1\t2\n")

    with pytest.raises(InputError, match="line 1: landmarks begin with the columns") as caught:
        register_files(*pair, RegisterConfig(model="elastic", weights="none", landmarks=str(points), start="none"))

    assert str(caught.value).count("points.txt") == 1


def test_landmarks_without_bending_are_refused() -> None:
    with pytest.raises(InputError, match="needed model elastic"):
        RegisterConfig(landmarks="points.csv")


def test_missing_landmarks_are_one_line(pair) -> None:
    with pytest.raises(InputError, match="no such file of landmarks"):
        register_files(*pair, RegisterConfig(model="elastic", weights="none", landmarks="nowhere.csv"))


def test_a_style_of_other_channels_is_one_line(tmp_path: Path, bent_pair, first_channel: Path) -> None:
    for name, image in zip(("a.png", "b.png"), bent_pair, strict=False):
        cv2.imwrite(str(tmp_path / name), image)

    with pytest.raises(InputError, match=r"leads from light of 3 channels .colour. to electrons") as caught:
        register_files(tmp_path / "a.png", tmp_path / "b.png", RegisterConfig(style=str(first_channel), weights="none"))

    assert "\n" not in str(caught.value)
