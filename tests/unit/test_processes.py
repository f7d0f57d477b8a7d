import sys
from functools import partial
from multiprocessing import get_all_start_methods, get_context, get_start_method

import pytest
import torch
from joblib import Parallel, delayed

from continual_repmode.measuring import peak_memory
from continual_repmode.processes import fresh_processes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak")
def test_workers_of_joblib_can_start_processes_afresh():
    floats = 25_000_000
    calls = [delayed(peak_memory)(partial, torch.ones, floats) for _ in range(2)]
    peaks = Parallel(n_jobs=2)(calls)  # how Hydra's launcher of that name starts runs
    assert peaks == pytest.approx([4 * floats] * 2, rel=0.1)


def test_an_ordinary_process_keeps_its_default():
    assert get_start_method() in get_all_start_methods()
    before = get_start_method()
    assert fresh_processes() is get_context("spawn")
    assert get_start_method() == before
