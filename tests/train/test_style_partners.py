"""Partners that do not lie on each other: brought into register first, strangers left out."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from demis_ij.config.style import StyleConfig
from demis_ij.errors import InputError
from demis_ij.nets.style_look import look_at
from demis_ij.synth.correlative_views import views
from demis_ij.train.style_pairs import gather_examples

CONFIG = StyleConfig(
    widths=(6, 8), crop_px=64, held_out_frac=0.0, unaligned=True, source_window_px=12.0, target_window_px=12.0,
    borders=False, device="cpu", threads=1,
)  # fmt: skip
SIDE = 256


def read(path):
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])


@pytest.fixture(scope="module")
def bent(tmp_path_factory):
    """Three steel pairs of which light saw a deformed specimen, the same not deformed, and one pair of strangers."""
    root = tmp_path_factory.mktemp("bent")
    for name in ("lom", "sem", "straight"):
        (root / name).mkdir()
    for seed in range(3):
        pair, straight = views("steel", seed, SIDE), views("steel", seed, SIDE, deformed=False)
        for folder, image in (("lom", pair.lom[..., ::-1]), ("sem", pair.sem), ("straight", straight.lom[..., ::-1])):
            assert cv2.imwrite(str(root / folder / f"{seed}.png"), image)
    assert cv2.imwrite(str(root / "lom" / "stranger.png"), views("steel", 9, SIDE).lom[..., ::-1])
    assert cv2.imwrite(str(root / "sem" / "stranger.png"), views("steel", 8, SIDE).sem)
    return root


def test_partners_are_brought_to_where_they_belong_and_strangers_are_left_out(bent, tmp_path):
    told = []
    found = gather_examples(
        bent / "lom", bent / "sem", CONFIG, read, kept=tmp_path, progress=lambda what, done, total: told.append(what)
    )
    as_they_are = gather_examples(bent / "lom", bent / "sem", replace(CONFIG, unaligned=False), read, kept=tmp_path)
    before = {one.name: one for one in as_they_are.source.train}

    names = [one.name for one in found.source.train]
    assert names == [one.name for one in found.target.train]
    assert "stranger.png" not in names
    assert len(names) >= 2
    assert any("stranger.png is left out" in line for line in found.warnings)
    assert "bringing partners into register" in told
    for one in found.source.train:
        truth = look_at(read(bent / "straight" / one.name), window_px=12.0).mean(axis=0)
        known = (one.mask > 0) & (before[one.name].mask > 0)
        moved, still = (np.corrcoef(x.look.mean(axis=0)[known], truth[known])[0, 1] for x in (one, before[one.name]))
        assert 1 - moved < 0.6 * (1 - still)
        assert (one.mask == 0).any()
        assert (one.look[:, one.mask == 0] == 128).all()
    again = gather_examples(bent / "lom", bent / "sem", CONFIG, read, kept=tmp_path)
    assert again.digest == found.digest


def test_too_few_that_could_be_brought_into_register_are_refused_in_one_line(bent, tmp_path):
    for folder in ("lom", "sem"):
        (tmp_path / folder).mkdir()
    for k in range(2):
        (tmp_path / "lom" / f"{k}.png").write_bytes((bent / "lom" / f"{k}.png").read_bytes())
        (tmp_path / "sem" / f"{k}.png").write_bytes((bent / "sem" / f"{(k + 1) % 3}.png").read_bytes())
    with pytest.raises(InputError, match=r"[01] of 2 pairs were brought into register.* needs 2"):
        gather_examples(tmp_path / "lom", tmp_path / "sem", CONFIG, read, kept=tmp_path / "looks")


def test_images_without_partners_cannot_be_brought_into_register():
    with pytest.raises(InputError, match="without partners"):
        StyleConfig(method="cycle", unaligned=True)
