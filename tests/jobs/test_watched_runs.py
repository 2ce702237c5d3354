"""The run folder of a watch: one that is refused is left to others at once."""

import pytest

from demis_ij import jobs
from demis_ij.config import StitchConfig
from demis_ij.errors import FormatError
from demis_ij.jobs.watch.run import ARRIVED, WatchedRun
from demis_ij.runs import occupant


def test_a_folder_that_is_refused_is_free_for_others_while_the_error_is_looked_at(tmp_path):
    job = jobs.StitchJob(config=StitchConfig(matcher="sift"))
    WatchedRun(tmp_path / "run", job).close()
    (tmp_path / "run" / ARRIVED).write_text("no list\n")
    with pytest.raises(FormatError, match="is no list of tiles") as refused:
        WatchedRun(tmp_path / "run", job)
    assert refused.value.__traceback__ is not None  # which holds all that was made until then
    assert occupant(tmp_path / "run") == ""
