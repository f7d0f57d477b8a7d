import copy
import pickle

import pytest
import torch
from torch import nn

from continual_repmode.models.kernel_cache import MAX_TASKS, KernelCache
from continual_repmode.models.mode_conv import MoDEConv
from continual_repmode.models.task_groups import TaskGroups

ONE = TaskGroups([0], ("red", "green"))


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return MoDEConv(2, 3, ("red", "green"), ("conv3", "conv1"), "ZYX").double().eval()


@pytest.fixture
def features():
    torch.manual_seed(1)
    return torch.randn(1, 2, 3, 4, 4, dtype=torch.float64)


def fresh(conv: MoDEConv, features: torch.Tensor) -> torch.Tensor:
    """Convolve without the cache, which only serves without gradients."""
    with torch.enable_grad():
        return conv(features, ONE).detach()


def in_place(conv):
    with torch.no_grad():
        conv.experts["conv3"].weight.add_(0.1)


def in_place_under_inference_mode(conv):
    with torch.inference_mode():
        conv.experts["conv3"].weight.add_(0.1)


def optimizer_step(conv):
    conv.experts["conv1"].weight.grad = torch.ones(3, 2, 1, 1, 1).double()
    torch.optim.SGD(conv.parameters(), lr=0.1).step()


def gate_in_place(conv):
    with torch.no_grad():
        conv.gate.linear.weight[:, 0].add_(torch.linspace(0, 1, 6).double())


def new_parameter(conv):
    conv.experts["conv3"].weight = nn.Parameter(conv.experts["conv3"].weight * 2)


def new_data(conv):
    conv.experts["conv3"].weight.data = conv.experts["conv3"].weight.data * 2


def write_through_data(conv):
    conv.experts["conv3"].weight.data.mul_(2)


def permute_through_data(conv):
    conv.experts["conv3"].weight.data.copy_(conv.experts["conv3"].weight.data.flip(4))


def negate_through_data(conv):
    conv.experts["conv1"].weight.data.neg_()


def transpose_through_data(conv):
    weight = conv.experts["conv3"].weight
    weight.data = weight.data.transpose(3, 4)


def write_through_numpy(conv):
    conv.experts["conv3"].weight.detach().numpy()[...] *= 2


def load_state(conv):
    conv.load_state_dict({k: v * 2 for k, v in conv.state_dict().items()})


def assign_state(conv):
    state = {k: v * 2 for k, v in conv.state_dict().items()}
    conv.load_state_dict(state, assign=True)


CHANGES = [
    in_place,
    in_place_under_inference_mode,
    optimizer_step,
    gate_in_place,
    new_parameter,
    new_data,
    write_through_data,
    permute_through_data,
    negate_through_data,
    transpose_through_data,
    write_through_numpy,
    load_state,
    assign_state,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_change_of_the_parameters_goes_unseen(conv, features, change):
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            before = conv(features, ONE)
        change(conv)
        with mode():
            after = conv(features, ONE)
        assert torch.equal(after, fresh(conv, features)), mode
        assert not torch.equal(after, before), mode


def test_moving_and_converting_the_network_is_seen(conv, features):
    with torch.no_grad():
        conv(features, ONE)
        conv.float()
        assert conv(features.float(), ONE).dtype == torch.float32


def test_parameters_made_under_inference_mode_are_merged_every_time(features):
    with torch.inference_mode():
        conv = MoDEConv(2, 3, ("red",), ("conv3", "conv1"), "ZYX").double().eval()
        before = conv(features, ONE)
        conv.experts["conv3"].weight.mul_(2)
        assert not torch.equal(conv(features, ONE), before)


def test_a_kernel_made_under_inference_mode_serves_elsewhere(conv, features):
    with torch.inference_mode():
        before = conv(features, ONE)
    with torch.no_grad():
        assert torch.equal(conv(features, ONE), before)


def test_gradients_flow_in_evaluation_mode_after_a_cached_pass(conv, features):
    with torch.no_grad():
        conv(features, ONE)
    conv(features, ONE).sum().backward()
    assert all(p.grad is not None for p in conv.parameters())


def test_copies_and_pickles_carry_no_kernel(conv, features):
    with torch.no_grad():
        conv(features, ONE)
    assert len(conv._cache) == 1
    for other in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert len(other._cache) == 0
        in_place(other)
        with torch.no_grad():
            assert torch.equal(other(features, ONE), fresh(other, features))
            assert not torch.equal(other(features, ONE), conv(features, ONE))


def test_training_mode_forgets_the_kernels(conv, features):
    with torch.no_grad():
        conv(features, ONE)
    conv.train()
    assert len(conv._cache) == 0


class Counter:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return torch.zeros(1)


def test_unchanged_sources_are_merged_once():
    cache, merge, source = KernelCache(), Counter(), torch.randn(5, 5)
    assert cache.get("red", [source], merge) is cache.get("red", [source], merge)
    assert merge.calls == 1


def test_every_element_counts_whatever_the_dtype_and_size():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for size in (1, 3, 61 * 8 + 5):
            cache, merge = KernelCache(), Counter()
            source = torch.randn(size).to(dtype)
            for index in range(size):
                cache.get("red", [source], merge)
                source.data[index] += 1
            assert merge.calls == size, dtype


def test_the_smallest_possible_change_counts():
    cache, merge = KernelCache(), Counter()
    source = torch.randn(1000, dtype=torch.float64)
    source[0] = 1e9
    cache.get("red", [source], merge)
    source.data[7] = torch.nextafter(source[7], source[0])
    cache.get("red", [source], merge)
    assert merge.calls == 2


def test_a_freed_address_is_not_mistaken_for_the_old_tensor():
    cache, merge = KernelCache(), Counter()
    for _ in range(20):
        source = torch.zeros(4096)
        cache.get("red", [source], merge)
        del source
    assert merge.calls == 20


def test_only_the_latest_tasks_are_kept():
    cache, merge, source = KernelCache(), Counter(), torch.zeros(3)
    for task in range(MAX_TASKS + 1):
        cache.get(f"task{task}", [source], merge)
    assert len(cache) == MAX_TASKS
    cache.get(f"task{MAX_TASKS}", [source], merge)
    assert merge.calls == MAX_TASKS + 1
    cache.get("task0", [source], merge)
    assert merge.calls == MAX_TASKS + 2
