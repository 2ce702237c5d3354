"""What a generator made earlier, as a critic of unaligned images is shown it."""

import numpy as np
import torch

from demis_ij.train.style_earlier import Earlier


def numbered(first, count):
    return torch.arange(first, first + count).float().view(-1, 1, 1, 1).expand(-1, 1, 4, 4)


def shown_of(earlier, first, count, seed=0):
    return earlier.exchanged(numbered(first, count), np.random.default_rng(seed))[:, 0, 0, 0].tolist()


def test_until_enough_is_kept_what_is_new_is_shown():
    earlier = Earlier(1, 4, count=6)
    assert shown_of(earlier, 0, 6) == [0, 1, 2, 3, 4, 5]
    assert int(earlier.filled) == 6


def test_then_half_of_what_is_shown_is_earlier_and_the_new_is_kept_in_its_place():
    earlier = Earlier(1, 4, count=6)
    shown_of(earlier, 0, 6)
    shown = shown_of(earlier, 10, 40)
    old = [n for n, new in zip(shown, range(10, 50), strict=True) if n != new]
    assert 10 <= len(old) <= 30  # of 40, half expected
    kept = earlier.images[:, 0, 0, 0].tolist()
    assert sorted([*old, *kept]) == sorted(set(range(6)) | {n for n in range(10, 50) if n not in shown or n in old})


def test_a_checkpoint_holds_it():
    earlier = Earlier(1, 4, count=6)
    shown_of(earlier, 0, 6)
    again = Earlier(1, 4, count=6)
    again.load_state_dict(earlier.state_dict())
    assert shown_of(again, 10, 8) == shown_of(earlier, 10, 8)
