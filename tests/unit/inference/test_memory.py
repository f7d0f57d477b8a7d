import sys

import pytest
import torch
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.memory import measure_window, parse_bytes

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak")
def test_the_peak_holds_all_that_a_prediction_takes():
    def greedy(windows: Tensor) -> Tensor:
        return windows + torch.ones(1000, *windows.shape[2:]).sum(0)

    small = measure_window(lambda x: x + 1, (16, 64, 64), 2, CPU)
    large = measure_window(greedy, (16, 64, 64), 2, CPU)

    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    taken = large.peak_bytes - small.peak_bytes
    assert taken == pytest.approx(1000 * 16 * 64 * 64 * 4, rel=0.3)
    assert large.seconds > 0


def test_a_prediction_of_another_shape_is_refused():
    with pytest.raises(UserError, match="predict returned shape"):
        measure_window(lambda x: x[..., 1:], (4, 8, 8), 1, CPU)


def test_amounts_of_memory():
    for text, num_bytes in {
        "2GB": 2 * 10**9,
        "500MB": 500 * 10**6,
        "1.5GiB": 3 * 2**29,
        " 2 gb ": 2 * 10**9,
        "64k": 64_000,
        "3Ti": 3 * 2**40,
        "12": 12,
        "12B": 12,
        2**31: 2**31,
    }.items():
        assert parse_bytes(text) == num_bytes, text


def test_other_amounts_are_refused():
    for text in (
        *("", "much", "-2GB", "2XB", "1.GB", "2iB", "0", "0.1", "1e9", True, "2 G B"),
    ):
        with pytest.raises(UserError, match=r"memory=.*: use an amount such as 2GB"):
            parse_bytes(text)
