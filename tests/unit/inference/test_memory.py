import subprocess
import sys

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.inference.memory import memory_needed, parse_bytes, plan_within
from continual_repmode.inference.windows import WindowGrid

CPU = torch.device("cpu")


def double(windows: Tensor) -> Tensor:
    return windows * 2


def test_planes_and_windows_are_counted() -> None:
    shape, window = (65, 2000, 3000), (32, 128, 128)

    needed = memory_needed(double, shape, window=window)

    planes = (32 + 32) * 2000 * 3000 * 4
    reading = 4 * 2000 * 3000 * 12
    windows = (1 + 2 + 1) * 32 * 128 * 128 * 4  # weights, weighted, what double makes
    assert needed == int((planes + reading + windows) * 1.05) + 8_000_000


def test_more_channels_and_larger_batches_need_more() -> None:
    def three(windows: Tensor) -> Tensor:
        return windows.expand(-1, 3, -1, -1, -1) * 2

    shape = (32, 256, 256)
    one = memory_needed(double, shape)
    assert memory_needed(three, shape) - one > 2 * 32 * 256 * 256 * 4
    assert memory_needed(double, shape, batch_size=4) - one > 3 * 32 * 128 * 128 * 8


@settings(deadline=None, max_examples=50)
@given(
    st.tuples(st.integers(1, 64), st.integers(1, 1500), st.integers(1, 1500)),
    st.sampled_from([0.0, 0.3, 0.5, 0.75]),
    st.integers(1, 6),
    st.integers(9, 200),
)
def test_plans_stay_within_the_bound(
    shape: tuple[int, int, int], overlap: float, batch_size: int, megabytes: int
) -> None:
    grid = WindowGrid.over(shape, (16, 64, 64), overlap)

    try:
        plan = plan_within(
            megabytes * 10**6, double, grid, batch_size=batch_size, device=CPU
        )
    except UserError:
        assert megabytes < 20
        return

    assert plan.num_bytes <= megabytes * 10**6
    assert 1 <= plan.batch_size <= batch_size


@settings(deadline=None, max_examples=50)
@given(st.tuples(st.integers(1, 64), st.integers(1, 1500), st.integers(1, 1500)))
@example((1, 1, 97))  # as many windows as a batch
def test_a_volume_that_fits_is_not_cut(shape: tuple[int, int, int]) -> None:
    grid = WindowGrid.over(shape, (16, 64, 64), 0.5)
    needed = memory_needed(
        double, shape, window=(16, 64, 64), overlap=0.5, batch_size=3
    )

    plan = plan_within(needed, double, grid, batch_size=3, device=CPU)

    assert len(list(plan.cutting.bands)) == 1
    assert plan.batch_size == min(3, grid.num_windows)
    assert plan.num_bytes == needed


def test_tighter_bounds_cut_finer_and_predict_more() -> None:
    grid = WindowGrid.over((32, 2000, 2000), (16, 64, 64), 0.5)

    plans = [
        plan_within(mb * 10**6, double, grid, batch_size=1, device=CPU)
        for mb in (2000, 300, 100, 30)
    ]

    windows = [plan.cutting.num_windows for plan in plans]
    assert windows == sorted(set(windows))
    assert windows[0] == grid.num_windows


def test_a_smaller_batch_is_preferred_to_many_cuts() -> None:
    def hungry(windows: Tensor) -> Tensor:
        return (windows.expand(-1, 100, -1, -1, -1) + 1)[:, :1]

    grid = WindowGrid.over((32, 600, 600), (16, 64, 64), 0.5)

    plan = plan_within(200 * 10**6, hungry, grid, batch_size=8, device=CPU)

    assert 1 < plan.batch_size < 8
    assert plan.cutting.num_windows <= 1.1 * grid.num_windows


def test_a_window_that_does_not_fit_is_named_with_what_it_needs() -> None:
    grid = WindowGrid.over((32, 600, 600), (32, 128, 128), 0.5)

    with pytest.raises(UserError) as caught:
        plan_within(10**7, double, grid, batch_size=8, device=CPU)

    message = str(caught.value)
    assert message.startswith(
        "memory=10MB: predicting windows of [32, 128, 128] one by"
    )
    assert message.endswith("use a smaller window, or allow more memory")
    needed = int(message.split("about ")[1].split()[0])
    plan = plan_within((needed + 1) * 10**6, double, grid, batch_size=8, device=CPU)
    assert plan.batch_size == 1
    with pytest.raises(UserError):
        plan_within((needed - 1) * 10**6, double, grid, batch_size=8, device=CPU)


REAL_PEAK = """
import sys
import torch
from continual_repmode.inference.heap import large_blocks_returned
from continual_repmode.inference.memory import memory_needed
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models.unet3d import UNet3d

def kilobytes(field):
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith(field)).split()[1])

window, batch_size = (16, 64, 64), 2
torch.manual_seed(0)
with large_blocks_returned():
    net = UNet3d(8, depth=4).eval().to(memory_format=torch.channels_last_3d)
    options = {"window": window, "batch_size": batch_size}
    needed = memory_needed(net, (16, 160, 160), **options)
    predict_volume(net, torch.randn(16, 16, 16))
    volume = torch.randn(16, 160, 160)
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    predicted = predict_volume(net, volume, **options)
    print(needed, (kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_holds_for_a_network() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REAL_PEAK],
        check=True,
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1"},
    )

    needed, real = map(int, done.stdout.split())
    assert 0.6 * needed < real < needed


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("2GB", 2 * 10**9),
        ("500MB", 500 * 10**6),
        ("1.5GiB", 3 * 2**29),
        (" 2 gb ", 2 * 10**9),
        ("64k", 64_000),
        ("3Ti", 3 * 2**40),
        ("12", 12),
        ("12B", 12),
        (2**31, 2**31),
    ],
)
def test_amounts_of_memory(text: str | int, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "much", "-2GB", "2XB", "1.GB", "2iB", "0", "0.1", "1e9", True, "2 G B"]
)
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"memory=.*: use an amount such as 2GB"):
        parse_bytes(text)
