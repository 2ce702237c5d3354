"""Numbers and figures as one self-contained HTML page, and the seams as a table for programs."""

from __future__ import annotations

from demis_ij.report.alignment import write_alignment
from demis_ij.report.page import write_report
from demis_ij.report.pictures import Preview
from demis_ij.report.seams import write_csv

__all__ = ["write_alignment", "write_report", "write_csv", "Preview"]
