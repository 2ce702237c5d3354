# ruff: noqa: F811 - fixtures come by name
"""``stitch --part --dry-run``: what that part would do, and a part that cannot be is refused as without it."""

import pytest
from cli_words import demis, made  # noqa: F401 - fixtures

QUICK = ("--matcher", "sift", "--stage-axes", "+x+y", "--quiet")


def test_a_plan_of_a_part_has_its_pairs_and_neither_layout_nor_mosaic(demis, made, tmp_path):
    words = ("stitch", made / "TileConfiguration.txt", "--out", tmp_path / "run", *QUICK)
    whole = demis(*words, "--dry-run", "--json").json
    plans = [demis(*words, "--part", f"{n}/3", "--dry-run", "--json").json for n in range(1, 4)]
    assert sum(plan["sections"][0]["pairs"] for plan in plans) == whole["sections"][0]["pairs"] == 4
    assert {(plan["project"], *plan["mosaics"]) for plan in plans} == {(None,)}
    assert "part" not in whole
    said = demis(*words, "--part", "3/3", "--dry-run")
    assert said.out.startswith("section 0: 4 tiles, 2 pairs in part 3/3, mosaic about ")
    assert "solved layout" not in said.out
    assert not (tmp_path / "run").exists()
    done = demis(*words, "--part", "3/3", "--json").json
    assert done["pairs"] == plans[2]["sections"][0]["pairs"] == 2


@pytest.mark.parametrize("part", ["nonsense", "5/4", "0/4", "1/", "/3", "-1/3"])
def test_a_part_that_cannot_be_is_refused_with_and_without_dry_run(part, demis, tmp_path):
    for more in ((), ("--dry-run",)):
        said = demis("stitch", tmp_path / "no_layout.txt", "--out", tmp_path / "run", f"--part={part}", *QUICK, *more)
        assert (said.code, len(said.lines)) == (2, 1)
        assert "as 2/5" in said.lines[0]
