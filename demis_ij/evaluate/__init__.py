"""Methods side by side on data whose truth is known: pairs, grids and stacks; tables, intervals, a ledger."""

from demis_ij.evaluate.align import Method, StackSource, evaluate_stacks, read_method, stack_rows, stack_sources
from demis_ij.evaluate.configurations import Configuration, read_configuration, read_configurations
from demis_ij.evaluate.grids import evaluate_grids
from demis_ij.evaluate.kept import Kept
from demis_ij.evaluate.pairs import evaluate_pairs
from demis_ij.evaluate.scenes import Known, Source, generated, of_dataset, of_folder, of_path, of_scene
from demis_ij.evaluate.scores import GridScore, PairScore, StackScore

__all__ = [
    "Configuration", "GridScore", "Kept", "Known", "Method", "PairScore", "Source", "StackScore", "StackSource",
    "evaluate_grids", "evaluate_pairs", "evaluate_stacks", "generated", "of_dataset", "of_folder", "of_path",
    "of_scene", "read_configuration", "read_configurations", "read_method", "stack_rows", "stack_sources",
]  # fmt: skip
