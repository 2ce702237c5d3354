"""What numpy's own threads may not change."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from demis_ij.solvers.columns import solve_columns
from demis_ij.solvers.threads import Threads
from demis_ij.testing.simulated_columns import simulate_grid


def blas_threads() -> list[int]:
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]


def test_the_spread_is_the_same_to_the_bit_by_any_number_of_blas_threads():
    made = simulate_grid(12, 12, np.random.default_rng(3), wrong=0.02)
    solved = []
    for threads in (1, 4):
        with threadpool_limits(threads, user_api="blas"):
            solved.append(solve_columns(made.tiles(), made.pairs()))

    np.testing.assert_array_equal(solved[0].sigma_px, solved[1].sigma_px)
    np.testing.assert_array_equal(solved[0].motion, solved[1].motion)


def test_threads_of_blas_are_given_back():
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with Threads(2):
            assert blas_threads() == [1] * len(before)
        assert blas_threads() == before
