"""Every solver keeps the contract that authors of plug-ins are given."""

from collections.abc import Callable

import pytest

from demis_ij.protocols import SOLVERS, Solver
from demis_ij.testing import solver_contract


# with every pair wrong python-graphslam, which believes them all, still has to end
@pytest.mark.parametrize("name", ["sparse", "slam", "factor_graph"])
@pytest.mark.parametrize("check", solver_contract.CHECKS, ids=lambda c: c.__name__)
def test_the_solver_keeps_the_contract(name: str, check: Callable[[Solver], None]) -> None:
    check(SOLVERS[name](model="rigid"))
