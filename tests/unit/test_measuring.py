"""Memory is that of one call, in a process of its own."""

import sys
from functools import partial

import pytest
import torch

from continual_repmode.measuring import (
    describe_machine,
    peak_memory,
    peak_resident_bytes,
    resident_bytes,
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_peak_memory_is_what_one_call_takes():
    floats = 25_000_000
    peak = peak_memory(partial, torch.ones, floats)
    assert peak == pytest.approx(4 * floats, rel=0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_a_fault_in_the_fresh_process_is_told():
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        peak_memory(divmod, 1, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_the_peak_of_a_process_is_not_below_what_it_holds():
    assert peak_resident_bytes() >= resident_bytes() > 1_000_000


def test_the_machine_is_told_in_words():
    machine = describe_machine(torch.device("cpu"))
    assert {"processor", "cores", "system", "instructions"} <= set(machine)
    assert all(isinstance(value, str) and value for value in machine.values())
