import pytest

from continual_repmode.errors import UserError
from continual_repmode.prediction import bounds
from continual_repmode.volumes.volume import memory_bytes


def test_what_is_left_is_less_than_what_the_process_does_not_have():
    in_use = bounds.resident_bytes()

    left = bounds.memory_left(in_use + 500_000_000)

    assert 300_000_000 < left < 500_000_000


def test_too_little_is_refused_with_what_would_do():
    in_use = bounds.resident_bytes()

    with pytest.raises(UserError, match=r"the program itself takes .*; allow .*"):
        bounds.memory_left(in_use)


def test_resizing_takes_no_more_than_it_is_faster_with():
    assert bounds.resizing_memory(memory_bytes() * 2) == 512_000_000


def test_the_default_leaves_half_of_the_machine():
    assert bounds.default_memory() == memory_bytes() // 2
