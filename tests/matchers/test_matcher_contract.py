"""Every matcher keeps the contract that authors of plug-ins are given."""

from collections.abc import Callable

import pytest

from demis_ij.protocols import MATCHERS, Matcher
from demis_ij.testing import matcher_contract


@pytest.mark.parametrize("name", ["sift", "correlation"])
@pytest.mark.parametrize("check", matcher_contract.CHECKS, ids=lambda c: c.__name__)
def test_the_matcher_keeps_the_contract(name: str, check: Callable[[Matcher], None]) -> None:
    check(MATCHERS[name]())
