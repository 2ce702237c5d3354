"""ITK's transform file: what is written is what ITK reads, and the other way round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demis_ij.aligners.bspline import elastix, quietly
from demis_ij.errors import FormatError, InputError
from demis_ij.formats.warps_itk import HEAD, KIND, read_itk, write_itk
from demis_ij.records import Affine

TURNED = Affine(0.9, -0.31, 0.32, 0.88, 12.5, -7.25)


def test_a_map_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_itk(tmp_path / "t.tfm", TURNED)
    assert read_itk(tmp_path / "t.tfm") == TURNED


def test_a_centre_is_taken_into_account(tmp_path: Path) -> None:
    text = f"{HEAD}\n#Transform 0\nTransform: {KIND}\nParameters: 0 -1 1 0 2 3\nFixedParameters: 10 20\n"
    (tmp_path / "t.tfm").write_text(text)
    assert np.allclose(read_itk(tmp_path / "t.tfm")([10, 20]), [12, 23])
    assert np.allclose(read_itk(tmp_path / "t.tfm")([11, 20]), [12, 24])


def test_itk_reads_the_same_map(tmp_path: Path) -> None:
    pytest.importorskip("itk", reason="itk-elastix is not installed (the extra baselines)")
    write_itk(tmp_path / "t.tfm", TURNED)
    with quietly():
        found = elastix().transformread(str(tmp_path / "t.tfm"))[0]
        assert np.allclose(list(found.TransformPoint((3.0, 4.0))), TURNED([3, 4]))


def test_a_file_is_not_overwritten_unasked(tmp_path: Path) -> None:
    write_itk(tmp_path / "t.tfm", TURNED)
    with pytest.raises(InputError, match="exists and is not overwritten"):
        write_itk(tmp_path / "t.tfm", Affine())
    assert read_itk(tmp_path / "t.tfm") == TURNED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "does not begin with"),
        (f"{HEAD}\nTransform: Euler2DTransform_double_2_2\nParameters: 1 2 3\n", "holds Euler2DTransform_double_2_2"),
        (f"{HEAD}\nTransform: {KIND}\nParameters: 1 0 0 1 0\nFixedParameters: 0 0\n", "5 Parameters"),
        (f"{HEAD}\nTransform: {KIND}\nParameters: 1 0 0 1 0 nan\nFixedParameters: 0 0\n", "not finite"),
    ],
)
def test_what_is_something_else_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "t.tfm").write_text(text)
    with pytest.raises(FormatError, match=said):
        read_itk(tmp_path / "t.tfm")
