import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.inference.allocation import allocation_of

CPU = torch.device("cpu")
SIDES = (4, 8, 8)
WINDOW_BYTES = 4 * 4 * 8 * 8


def test_tensors_that_live_at_once_are_counted() -> None:
    def predict(windows: Tensor) -> Tensor:
        doubled = windows * 2  # 1
        joined = torch.cat([doubled, doubled, doubled], dim=1)  # 1 + 3
        del doubled
        joined.add_(1)  # 3: in place
        return joined.view(joined.shape)[:, :2] + 1  # 3 + 2: no copy but the last

    allocation = allocation_of(predict, SIDES, 1, CPU)

    assert allocation.channels == 2
    assert allocation.num_bytes(1) == 5 * WINDOW_BYTES


def test_a_convolution_counts_its_kernel_once_more() -> None:
    layer = nn.Conv3d(1, 2, 3, padding=1)

    allocation = allocation_of(layer, SIDES, 1, CPU)

    assert allocation.num_bytes(1) == 2 * WINDOW_BYTES + 4 * layer.weight.numel()


def test_nothing_is_computed() -> None:
    def predict(windows: Tensor) -> Tensor:
        return (windows.expand(-1, 1_000_000, -1, -1, -1) + 1)[:, :1]

    assert allocation_of(predict, (32, 128, 128), 8, CPU).one > 2e12


def test_batches_lie_between_the_smallest_and_the_largest() -> None:
    def predict(windows: Tensor) -> Tensor:
        merged = torch.ones(500_000)  # whatever the batch
        return windows * merged[0]

    allocation = allocation_of(predict, SIDES, 5, CPU)

    for batch_size in range(1, 6):
        alone = allocation_of(predict, SIDES, batch_size, CPU)
        assert allocation.num_bytes(batch_size) == alone.num_bytes(batch_size)


def test_a_function_that_looks_at_values_is_run_on_one_window() -> None:
    batches: list[int] = []

    def predict(windows: Tensor) -> Tensor:
        doubled = windows * 2
        if doubled.sum().item() != 0:  # cannot be told without computing
            raise AssertionError
        batches.append(len(windows))
        return doubled

    allocation = allocation_of(predict, SIDES, 4, CPU)

    assert batches == [1]
    assert allocation.channels == 1
    assert WINDOW_BYTES <= allocation.one <= WINDOW_BYTES + 64
    assert allocation.num_bytes(4) == 4 * allocation.one


def test_autocast_is_taken_into_account_and_its_cache_left_sound() -> None:
    layer = nn.Conv3d(1, 1, 3, padding=1)
    windows = torch.ones(1, 1, *SIDES)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        allocation = allocation_of(layer, SIDES, 1, CPU)
        computed = layer(windows)

    assert allocation.one < WINDOW_BYTES + 300
    expected = F.conv3d(windows, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(computed.float(), expected, rtol=2e-2, atol=2e-2)


def test_a_changed_shape_is_named() -> None:
    with pytest.raises(UserError, match=r"returned shape \(1, 1, 4, 8, 7\)"):
        allocation_of(lambda windows: windows[..., 1:], SIDES, 1, CPU)
