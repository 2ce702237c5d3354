"""How many batches go to a worker at once."""

from __future__ import annotations

from demis_ij.stitch.loads import LOAD_S, MOST_BATCHES, Loads, in_turn


def sizes(batches, seconds_a_pair, workers=2, **settings):
    """Return the sizes of all loads where each is done before the next is drawn."""
    loads = Loads(batches, lambda: workers, **settings)
    found = []
    for load in loads:
        found.append(load)
        pairs = sum(map(len, load))
        loads.took(pairs, pairs * seconds_a_pair)
    assert [batch for load in found for batch in load] == batches
    return [len(load) for load in found]


def test_quick_batches_go_together_and_slow_ones_alone():
    batches = [[n] * 10 for n in range(200)]
    quick = sizes(batches, 0.01)
    assert quick[0] == 1  # nobody knows yet
    assert max(quick) == quick[1] == round(LOAD_S / 0.1)
    assert set(sizes(batches, 1.0)) == {1}
    assert max(sizes(batches * 4, 0.0)) == MOST_BATCHES


def test_loads_shrink_toward_the_end():
    found = sizes([[n] * 10 for n in range(200)], 0.001, workers=4)
    assert found[1:] == sorted(found[1:], reverse=True)
    assert found[-4:] == [1] * 4


def test_a_load_is_as_long_as_a_batch_when_no_more_is_allowed():
    assert set(sizes([[n] for n in range(30)], 0.0, most=1)) == {1}


def test_one_slow_load_does_not_make_the_others_small():
    loads = Loads([[n] * 10 for n in range(300)], lambda: 1)
    drawn = iter(loads)
    next(drawn)
    loads.took(10, 30.0)  # it loaded the weights
    for _ in range(4):
        loads.took(10, 0.1)
    assert len(next(drawn)) == 10


def test_batches_of_a_load_are_done_one_after_the_other_and_all_of_them_are_timed(monkeypatch):
    now = [5.0]

    def work(batch):
        now[0] += len(batch)
        return [n + 1 for n in batch]

    monkeypatch.setattr("demis_ij.stitch.loads.time.perf_counter", lambda: now[0])
    assert in_turn(work, [[1, 2], [3]]) == ([2, 3, 4], 3.0)
