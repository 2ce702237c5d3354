"""The page of a volume: the worst sections first, every one with its link, light for a thousand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demis_ij.records import Suspect
from demis_ij.report.pictures import data_uri
from demis_ij.report.section_facts import THUMBNAIL_BYTES, AcrossFacts, SectionFacts
from demis_ij.report.volume import volume_page, worst_first, write_volume_report

GOOD = SectionFacts(
    section="0", tiles=4, placed_by={"sift": 4}, pairs=4, residuals_px=(0.1, 0.2, 0.2, 0.3), worst_px=0.3,
    components=(4,), level="good", sentence="4 of 4 seams agree within 0.31 px.", origin=(0, 0), shape=(90, 90),
    seconds={"match": 2.0}, thumbnail="data:image/jpeg;base64,AAAA", state="x",
)  # fmt: skip
SWAP = Suspect("t1", "exchanged", "looks exchanged with tile t2: the image of each fits the place of the other", "t2")
LOOK = replace(GOOD, section="1", level="check", sentence="1 tile could not be matched.", suspects=(SWAP,))
BAD = replace(GOOD, section="2", level="bad", worst_px=20.0, sentence="The worst is off by 20 px.")
LOST = SectionFacts(section="3", problem="no tile can be read <at all>")


def links(facts):
    return {f.section: f"sections/{f.section}.html" for f in facts if not f.problem}


def test_facts_survive_their_file():
    noted = replace(GOOD, notes=("tiles share a lens",))
    for facts in (
        GOOD,
        LOOK,
        LOST,
        noted,
        replace(GOOD, across=(AcrossFacts("1", 4, 3, 2.5), AcrossFacts("2", 4, 0, None))),
    ):
        again = SectionFacts.from_json(facts.to_json())
        assert again.to_json() == facts.to_json()
        assert again.suspects == facts.suspects


def test_the_worst_come_first():
    assert [f.section for f in worst_first([GOOD, LOOK, BAD, LOST])] == ["3", "2", "1", "0"]
    untied = replace(GOOD, section="9", across=(AcrossFacts("0", 4, 0, None),))
    tied = replace(GOOD, section="8", across=(AcrossFacts("0", 4, 4, 1.0),))
    assert [f.section for f in worst_first([tied, untied])] == ["9", "8"]


def test_every_section_is_there_with_what_to_know():
    page = volume_page([GOOD, LOOK, BAD, LOST], links([GOOD, LOOK, BAD, LOST]), title="stack.txt", warnings=["w1"])
    for name in ("0", "1", "2"):
        assert f'href="sections/{name}.html"' in page
    assert "1 of 4 sections can be trusted as they are" in page
    assert "1 section could not be stitched: 3" in page
    assert "no tile can be read &lt;at all&gt;" in page
    assert "tile t1: looks exchanged with tile t2" in page
    assert "1 exchanged" in page
    assert "across z" not in page
    assert page.index("sections/2.html", page.index("worst first")) < page.index(
        "sections/0.html", page.index("worst first")
    )


def test_what_ties_sections_together_has_its_columns():
    tied = replace(GOOD, across=(AcrossFacts("1", 4, 3, 2.5), AcrossFacts("2", 4, 0, None)))
    page = volume_page([tied], links([tied]))
    assert "3 of 8" in page
    assert "nothing ties it to section 2" in page


def test_a_thousand_sections_are_a_light_page():
    rng = np.random.default_rng(0)
    picture = data_uri(rng.integers(0, 255, (128, 128), np.uint8), THUMBNAIL_BYTES)
    facts = [replace(GOOD, section=str(i), thumbnail=picture) for i in range(1000)]
    page = volume_page(facts, links(facts))
    assert len(page) < 4_000_000
    assert page.count("<img") == 300


def test_a_page_that_is_the_same_is_left_alone(tmp_path):
    path = tmp_path / "report.html"
    write_volume_report(path, [GOOD], links([GOOD]))
    before = path.stat().st_mtime_ns
    write_volume_report(path, [GOOD], links([GOOD]))
    assert path.stat().st_mtime_ns == before
    write_volume_report(path, [GOOD, BAD], links([GOOD, BAD]))
    assert "sections/2.html" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
