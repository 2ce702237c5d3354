"""warps.npz and bUnwarpJ's files: what is written means what the format says, and comes back."""

import numpy as np
import pytest

from demis_ij import fields
from demis_ij.errors import FormatError, InputError
from demis_ij.formats import warps_bunwarpj as bunwarpj
from demis_ij.formats.splines import CubicSpline, fit_spline, misfit, spline_of
from demis_ij.formats.warps import StackWarps, read_npz, write_npz
from demis_ij.formats.warps_pushed import completed
from demis_ij.records import Affine, Field, Warp

SHAPE = (90, 130)


def bent(seed=0, shape=SHAPE, stride=8, sd=3.0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (9, 2)) * np.array(shape[::-1])
    return fields.thin_plate(points, rng.normal(0, sd, (9, 2)), shape, stride)


def warp_of(*parts, shape=SHAPE, origin=(0.0, 0.0)):
    return Warp(parts, shape, origin)


def test_an_npz_holds_a_pull_map_of_each_section_at_its_nodes(tmp_path):
    shift = warp_of(Affine.translation(5, -3), origin=(-7, 4))
    turn = warp_of(Affine.rigid(0.2, 1, 2), origin=(-7, 4))
    assert write_npz(tmp_path / "warps.npz", StackWarps((shift, turn), ("a", "b"), (3, 5)), stride=16) == ()
    with np.load(tmp_path / "warps.npz") as file:
        assert set(file.files) == {"format_version", "offsets", "stride", "origin_xy", "shape", "names", "z"}
        assert int(file["format_version"]) == 1
        assert file["offsets"].dtype == np.float32
        assert file["offsets"].shape == (2, 2, 7, 10)
        assert float(file["stride"]) == 16
        assert file["shape"].tolist() == list(SHAPE)
        assert file["origin_xy"].tolist() == [-7, 4]
        assert file["names"].tolist() == ["a", "b"]
        assert file["z"].tolist() == [3, 5]
        # aligned(x, y) = section(x + dx, y + dy): a shift of the section's content by (-5, 3) looks up (x + 5, y - 3)
        assert (file["offsets"][0, 0] == 5).all()
        assert (file["offsets"][0, 1] == -3).all()
        x, y = 3 * 16, 2 * 16  # node (row 2, col 3)
        there = np.array([x, y]) + file["offsets"][1, :, 2, 3]
        np.testing.assert_allclose(there, Affine.rigid(0.2, 1, 2)([x, y]), atol=1e-4)


def test_an_npz_gives_back_fields_to_the_bit_and_unknown_nodes_as_unknown(tmp_path):
    field = bent()
    offsets = field.offsets.copy()
    offsets[:, 2:4, 3] = np.nan
    stack = StackWarps((warp_of(Field(offsets, 8), origin=(1, 2)), warp_of(field, origin=(1, 2))), ("s1", "s2"), (0, 2))
    write_npz(tmp_path / "w.npz", stack)
    back = read_npz(tmp_path / "w.npz")
    np.testing.assert_array_equal(back.warps[0].parts[0].offsets, offsets)
    assert back.warps[0].parts[0].stride == 8
    assert (back.ids, back.z, back.shape, back.origin_xy) == (("s1", "s2"), (0, 2), SHAPE, (1, 2))


def test_affine_warps_need_few_nodes_and_stay_exact(tmp_path):
    turn = warp_of(Affine.rigid(-0.4, 30, 7))
    assert write_npz(tmp_path / "w.npz", StackWarps((turn,))) == ()
    back = read_npz(tmp_path / "w.npz").warps[0]
    assert back.parts[0].offsets.size <= 8
    at = np.random.default_rng(1).uniform(0, 89, (50, 2))
    np.testing.assert_allclose(back(at), turn(at), atol=1e-4)


def test_a_large_stack_gets_a_coarser_grid_and_says_what_is_lost(tmp_path):
    stack = StackWarps(tuple(warp_of(bent(i)) for i in range(3)))
    said = write_npz(tmp_path / "w.npz", stack, most_bytes=2000)
    assert len(said) == 1
    assert "instead of 8 px" in said[0]
    back = read_npz(tmp_path / "w.npz")
    assert back.warps[0].parts[0].stride > 8
    assert 8 * 3 * back.warps[0].parts[0].offsets[0].size <= 2000


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format_version": np.array(2)}, "version 2"),
        ({"offsets": np.zeros((2, 3, 4, 4), np.float32)}, "(n, 2, h, w)"),
        ({"offsets": np.zeros((1, 2, 4, 4), np.float32)}, "do not cover"),
        ({"stride": np.array(0.0)}, "do not cover"),
        ({"offsets": np.full((1, 2, 13, 18), np.inf, np.float32)}, "finite"),
        ({"names": np.array(["a", "b"])}, "as many"),
        ({"shape": None}, "shape missing"),
    ],
)
def test_a_file_of_warps_that_does_not_fit_itself_is_refused_in_one_line(tmp_path, change, why):
    held = {
        "format_version": np.array(1), "offsets": np.zeros((1, 2, 13, 18), np.float32), "stride": np.array(8.0),
        "shape": np.array(SHAPE), "origin_xy": np.zeros(2),
    }  # fmt: skip
    np.savez(tmp_path / "good.npz", **held)
    assert len(read_npz(tmp_path / "good.npz")) == 1
    np.savez(tmp_path / "w.npz", **{k: v for k, v in {**held, **change}.items() if v is not None})
    with pytest.raises(FormatError, match=r"w\.npz") as refused:
        read_npz(tmp_path / "w.npz")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_of_warps_is_named(tmp_path):
    (tmp_path / "w.npz").write_bytes(b"PK\x03\x04 cut")
    for path in (tmp_path / "w.npz", tmp_path / "none.npz"):
        with pytest.raises(FormatError, match=path.name):
            read_npz(path)


def test_warps_of_one_stack_share_one_canvas():
    with pytest.raises(InputError, match="one canvas"):
        StackWarps((warp_of(), warp_of(shape=(90, 131))))


# --- bUnwarpJ ---------------------------------------------------------------------------------------------------------


def test_a_raw_file_holds_absolute_source_points_of_every_target_pixel(tmp_path):
    offsets = np.zeros((2, 3, 4), np.float32)
    offsets[0], offsets[1] = 1.5, -0.25
    offsets[:, 1, 2] = np.nan
    bunwarpj.write_raw(tmp_path / "raw.txt", Warp((Field(offsets, 1),), (3, 4)))
    lines = (tmp_path / "raw.txt").read_text().splitlines()
    assert lines[:4] == ["Width=4", "Height=3", "", "X Trans -----------------------------------"]
    assert lines[4].split() == ["1.5", "2.5", "3.5", "4.5"]
    assert lines[5].split() == ["1.5", "2.5", "NaN", "4.5"]
    assert lines[7:9] == ["", "Y Trans -----------------------------------"]
    assert [line.split()[0] for line in lines[9:]] == ["-0.25", "0.75", "1.75"]


def test_a_raw_file_comes_back(tmp_path):
    warp = warp_of(Affine.rigid(0.1, 3, 4), bent())
    bunwarpj.write_raw(tmp_path / "raw.txt", warp)
    back = bunwarpj.read_raw_transformation(tmp_path / "raw.txt")
    assert back.shape == SHAPE
    at = np.stack(np.meshgrid(np.arange(130), np.arange(90)), -1).reshape(-1, 2)
    np.testing.assert_allclose(back(at), warp(at), atol=2e-5)  # px: fields are float32


def test_a_raw_file_read_and_written_again_is_the_same_to_the_byte(tmp_path):
    offsets = bent(stride=1).offsets.copy()
    offsets[:, 7, 8] = np.nan
    bunwarpj.write_raw(tmp_path / "one.txt", Warp((Field(offsets, 1),), SHAPE))
    first = bunwarpj.read_raw_transformation(tmp_path / "one.txt")
    bunwarpj.write_raw(tmp_path / "two.txt", first)
    second = bunwarpj.read_raw_transformation(tmp_path / "two.txt")
    assert (tmp_path / "two.txt").read_bytes() == (tmp_path / "one.txt").read_bytes()
    np.testing.assert_array_equal(first.parts[0].offsets, offsets)
    np.testing.assert_array_equal(second.parts[0].offsets, offsets)


def test_a_raw_file_in_the_plug_ins_own_digits_means_the_same_when_written_again(tmp_path):
    lines = ["Width=3", "Height=2", "", "X Trans ---", "-0.12345678901234567 1.0E-5 2.75", "0.1 1.3333333333333333 2"]
    lines += ["", "Y Trans ---", "0.0 0.5 1.0E-3", "1 1 1.00000000001"]
    (tmp_path / "one.txt").write_text("\n".join(lines) + "\n")
    first = bunwarpj.read_raw_transformation(tmp_path / "one.txt")
    bunwarpj.write_raw(tmp_path / "two.txt", first)
    second = bunwarpj.read_raw_transformation(tmp_path / "two.txt")
    np.testing.assert_array_equal(second.parts[0].offsets, first.parts[0].offsets)
    np.testing.assert_allclose(first([[0.0, 0.0], [2.0, 1.0]]), [[-0.12345679, 0.0], [2, 1]], atol=1e-6)


def test_a_spline_read_and_written_again_is_the_same_to_the_byte(tmp_path):
    x, y = np.random.default_rng(7).normal(40, 200, (2, 11, 11))
    x[0, 0], y[3, 4] = 1e-17, -3.25e8
    bunwarpj.write_spline(tmp_path / "one.txt", CubicSpline(x, y, SHAPE))
    back = bunwarpj.read_spline(tmp_path / "one.txt", SHAPE)
    bunwarpj.write_spline(tmp_path / "two.txt", back)
    assert (tmp_path / "two.txt").read_bytes() == (tmp_path / "one.txt").read_bytes()
    np.testing.assert_array_equal(back.x, x)
    np.testing.assert_array_equal(back.y, y)


def test_a_spline_that_is_not_finite_is_not_written(tmp_path):
    nan = np.full((4, 4), np.nan)
    with pytest.raises(InputError, match="finite"):
        bunwarpj.write_spline(tmp_path / "e.txt", CubicSpline(nan, nan, SHAPE))
    assert not (tmp_path / "e.txt").exists()


def test_landmarks_are_a_table_whose_source_is_the_moving_image(tmp_path):
    fixed, moving = [[1.5, 2.0], [30.0, 40.25]], [[3.0, 4.0], [31.0, 41.125]]
    bunwarpj.write_landmarks(tmp_path / "l.txt", fixed, moving)
    lines = (tmp_path / "l.txt").read_text().splitlines()
    assert lines[0] == "Index\txSource\tySource\txTarget\tyTarget"
    assert lines[2].split("\t") == ["1", "31.0", "41.125", "30.0", "40.25"]
    back = bunwarpj.read_landmarks(tmp_path / "l.txt")
    np.testing.assert_array_equal(back, (fixed, moving))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("x y\n", "line 1"),
        ("Index xSource ySource xTarget yTarget\n", "no landmark"),
        ("Index\txSource\tySource\txTarget\tyTarget\n0\t1\t2\t3\n", "line 2: 5 columns"),
        ("Index\txSource\tySource\txTarget\tyTarget\n0\t1\t2\t3\tx\n", "line 2: yTarget"),
    ],
)
def test_a_broken_table_of_landmarks_names_its_line(tmp_path, text, why):
    (tmp_path / "l.txt").write_text(text)
    with pytest.raises(FormatError, match=why):
        bunwarpj.read_landmarks(tmp_path / "l.txt")


def test_an_elastic_file_of_a_shift_is_known_in_closed_form(tmp_path):
    # a B-spline reproduces linear maps: coefficient (i, j) of x is the x of its own place, (j - 1) (cols - 1) / N
    departs = bunwarpj.write_elastic(tmp_path / "e.txt", warp_of(Affine.translation(5, -3)))
    assert departs.largest_px < 1e-6
    lines = (tmp_path / "e.txt").read_text().splitlines()
    assert lines[0] == "Intervals=1"
    assert lines[2] == "X Coeffs -----------------------------------"
    assert [float(v) for v in lines[3].split()] == pytest.approx([-129 + 5, 5, 129 + 5, 2 * 129 + 5])
    assert lines[8] == "Y Coeffs -----------------------------------"
    assert [float(line.split()[0]) for line in lines[9:]] == pytest.approx([-89 - 3, -3, 89 - 3, 2 * 89 - 3])


def test_an_elastic_file_of_bunwarpj_is_read_by_its_own_formula(tmp_path):
    rng = np.random.default_rng(3)
    cx, cy = rng.normal(40, 10, (2, 5, 5))
    blocks = ["\n".join(" ".join(f"{v!r}" for v in row) for row in c.tolist()) for c in (cx, cy)]
    text = f"Intervals=2\n\nX Coeffs ---\n{blocks[0]}\n\nY Coeffs ---\n{blocks[1]}\n"
    (tmp_path / "e.txt").write_text(text)
    warp = bunwarpj.read_elastic(tmp_path / "e.txt", SHAPE, stride=1)

    def basis(t):  # the cubic B-spline
        t = abs(t)
        return 2 / 3 - t**2 + t**3 / 2 if t < 1 else max(2 - t, 0) ** 3 / 6

    for x, y in ((0, 0), (129, 89), (30, 17), (77, 60)):
        u, v = x * 2 / 129 + 1, y * 2 / 89 + 1
        for k, c in enumerate((cx, cy)):
            said = sum(c[i, j] * basis(v - i) * basis(u - j) for i in range(5) for j in range(5))
            assert warp([x, y])[k] == pytest.approx(said, abs=2e-5)


def test_an_elastic_file_stands_for_a_smooth_warp_within_what_it_says(tmp_path):
    warp = warp_of(bent(2))
    departs = bunwarpj.write_elastic(tmp_path / "e.txt", warp)
    assert departs.most_px < 0.1
    back = bunwarpj.read_elastic(tmp_path / "e.txt", SHAPE, stride=1)
    at = np.random.default_rng(4).uniform(0, 1, (500, 2)) * np.array([129, 89])
    assert np.linalg.norm(back(at) - warp(at), axis=1).max() < departs.largest_px + 0.1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Intervals=1\n\nX Coeffs ---\n1 2 3\n", "line 4"),
        ("Intervals=x\n", "line 1"),
        ("Width=3\n", "line 1"),
        ("Intervals=1\n\nX Coeffs ---\n" + "1 2 3 x\n" * 4, "line 4"),
    ],
)
def test_a_broken_elastic_file_names_its_line(tmp_path, text, line):
    (tmp_path / "e.txt").write_text(text)
    with pytest.raises(FormatError, match=line):
        bunwarpj.read_elastic(tmp_path / "e.txt", SHAPE)


def test_a_broken_raw_file_names_its_line(tmp_path):
    (tmp_path / "r.txt").write_text("Width=2\nHeight=2\n\nX Trans ---\n1 2\n1\n")
    with pytest.raises(FormatError, match="line 6"):
        bunwarpj.read_raw_transformation(tmp_path / "r.txt")
    (tmp_path / "r.txt").write_text("Width=2\nHeight=1000000000000000\n\nX Trans ---\n1 2\n")  # no memory holds that
    with pytest.raises(FormatError, match="line 6"):
        bunwarpj.read_raw_transformation(tmp_path / "r.txt")


def test_nothing_is_overwritten_unless_asked(tmp_path):
    warp = warp_of()
    for write in (
        lambda p, **k: write_npz(p, StackWarps((warp,)), **k),
        lambda p, **k: bunwarpj.write_raw(p, warp, **k),
        lambda p, **k: bunwarpj.write_elastic(p, warp, **k),
    ):
        path = tmp_path / "there"
        path.write_text("mine")
        with pytest.raises(InputError, match="exists"):
            write(path)
        assert path.read_text() == "mine"
        write(path, overwrite=True)
        path.unlink()
        assert not list(tmp_path.iterdir())


# --- splines, and the other way round ---------------------------------------------------------------------------------


def test_a_spline_reproduces_a_cubic_polynomial_exactly():
    def cubic(p):
        x, y = p[:, 0] / 100, p[:, 1] / 100
        return np.stack([50 * x**3 - 20 * x * y**2 + 3, 10 * y**3 + x**2 * y * 7 + y * 80], axis=1)

    for intervals in (1, 2, 5):
        assert misfit(fit_spline(cubic, SHAPE, intervals), cubic).largest_px < 1e-9


def test_a_spline_takes_the_fewest_intervals_that_are_good_enough():
    field = bent(5, sd=2)
    found, departs = spline_of(field, SHAPE)
    assert departs.most_px <= 0.1
    assert found.intervals > 1
    half, worse = spline_of(field, SHAPE, most=found.intervals // 2)
    assert half.intervals == found.intervals // 2
    assert worse.most_px > 0.1
    assert isinstance(half, CubicSpline)


def test_pushing_undoes_a_warp_also_a_quarter_turn():
    for affine in (Affine(), Affine.rigid(0.5, 20, -10), Affine.rigid(np.pi / 2, 100, 0), Affine(1.2, 0.1, 0, 0.9)):
        warp = warp_of(bent(6), affine)
        whole = completed(warp)
        at = np.random.default_rng(7).uniform(5, 80, (200, 2))
        np.testing.assert_allclose(whole.pushed(whole(at)), at, atol=5e-3)


def test_a_warp_goes_on_smoothly_where_it_is_unknown():
    field = bent(8)
    offsets = field.offsets.copy()
    offsets[:, 4:7, 5:9] = np.nan
    whole = completed(warp_of(Field(offsets, 8)))
    assert whole.unknown_frac == pytest.approx(12 / offsets[0].size)
    at = np.random.default_rng(9).uniform(0, 1, (300, 2)) * np.array([129, 89])
    assert np.isfinite(whole(at)).all()
    assert np.abs(whole(at) - field(at)).max() < 3  # px: as much as the field changes over the hole
    assert fields.folded_frac(whole.rest) == 0
