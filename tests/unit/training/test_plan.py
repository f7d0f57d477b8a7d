"""What is proposed from volumes and machine, where a step takes what the test says."""

import math

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet
from continual_repmode.training import plan as planning
from continual_repmode.training.plan import (
    Learning,
    depth_of_projections,
    measure_step,
    plan_training,
)

CPU = torch.device("cpu")
STREAM = [Learning(3, 30, 0), Learning(1, 10, 0)]
BATCH = 4


@pytest.fixture
def net() -> RepModeUNet:
    torch.manual_seed(0)
    return RepModeUNet(("dna", "nucleolus"), width=2, depth=2)


@pytest.fixture
def machine(monkeypatch):
    """Let a step take a time and memory per voxel of a patch."""
    tried = []

    def set_up(voxel_s: float, voxel_bytes: float, memory: int = 10**9) -> list:
        def step(net, patch, batch_size, device):
            tried.append(patch)
            voxels = batch_size * math.prod(patch)
            return voxel_s * voxels, int(voxel_bytes * voxels)

        monkeypatch.setattr(planning, "measure_step", step)
        monkeypatch.setattr(planning, "_memory_limit", lambda device: memory)
        return tried

    return set_up


def plan(net, smallest=(40, 200, 200), stream=STREAM, **options):
    chosen = {"epochs": [None] * len(stream), "batch_size": BATCH, "device": CPU}
    return plan_training(net, smallest, stream, **{**chosen, **options})


def test_patches_grow_to_the_papers_and_to_what_fits(net, machine):
    tried = machine(voxel_s=1e-12, voxel_bytes=1)

    assert plan(net).patch_size == (32, 128, 128)
    assert tried == sorted(tried, key=math.prod)
    assert tried[0] == (8, 32, 32)
    assert plan(net, (13, 70, 301)).patch_size == (12, 68, 128)
    with pytest.raises(UserError, match="has 3 voxels along Z, fewer than the 4"):
        plan(net, (3, 70, 301))


def test_targets_that_are_projections_need_all_planes_in_every_patch(net, machine):
    machine(voxel_s=1e-12, voxel_bytes=1)
    assert plan(net, depth=40).patch_size == (40, 128, 128)
    assert plan(net, (3, 70, 301), depth=40).patch_size == (40, 68, 128)  # padded
    assert depth_of_projections(13, smallest=16, part=4, pad=False) == 16
    assert depth_of_projections(13, smallest=13, part=4, pad=True) == 16
    with pytest.raises(UserError, match=r"up to 13 planes, so a patch needs 16, .* 13"):
        depth_of_projections(13, smallest=13, part=4, pad=False)


def test_a_step_must_fit_the_memory_and_the_training_two_hours(net, machine):
    machine(voxel_s=1e-12, voxel_bytes=1000, memory=BATCH * 1000 * 32 * 64 * 64)
    found = plan(net)
    assert found.patch_size == (32, 64, 64)
    assert found.memory_bytes == BATCH * 1000 * 32 * 64 * 64
    steps = 3 * 600 + 600
    slow = 2 * 3600 * 0.75 / steps / BATCH / (16 * 64 * 64)
    tried = machine(voxel_s=slow * 0.99, voxel_bytes=1)
    tried.clear()
    assert plan(net).patch_size == (16, 64, 64)
    assert max(tried, key=math.prod) == (16, 64, 64)  # the next is known to be too slow
    machine(voxel_s=1e-12, voxel_bytes=10**9)
    with pytest.raises(UserError, match=r"more than the 1\.0 GB of memory there are"):
        plan(net)


def test_epochs_make_600_steps_for_each_task_and_fit_into_a_day(net, machine):
    machine(voxel_s=1e-9, voxel_bytes=1)
    found = plan(net)
    assert found.epochs == (math.ceil(1800 / 8), math.ceil(600 / 3))
    step_s = 1e-9 * BATCH * 32 * 128 * 128
    assert found.seconds == pytest.approx((225 * 8 + 200 * 3) * step_s * 4 / 3)
    tested = plan(net, stream=[*STREAM[:1], Learning(1, 10, 10**9)])
    assert tested.seconds - found.seconds == pytest.approx(10**9 * 1e-9 / 3 * 8)
    assert plan(net, epochs=[7, None]).epochs == (7, 200)
    assert plan(net, patch_size=(4, 8, 8)).patch_size == (4, 8, 8)
    machine(voxel_s=1e-2, voxel_bytes=1)
    slow = plan(net, epochs=[None, 30])
    assert slow.patch_size == (8, 32, 32)
    assert slow.epochs[1] == 30
    assert 1 <= slow.epochs[0] < 225
    assert "8 x 32 x 32" in str(slow)


def test_a_step_is_measured_without_a_change_of_the_network(net):
    before = {name: value.clone() for name, value in net.state_dict().items()}

    seconds, peak = measure_step(net, (4, 8, 8), 2, CPU)

    assert 0 < seconds < 10
    assert peak is None or peak > 10**7
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
