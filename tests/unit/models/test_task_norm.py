import copy

import pytest
import torch
from torch import nn

from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_norm import TaskNorm

NAMES = ("red", "green", "blue")


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = TaskNorm(2).double()
    with torch.no_grad():
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.fixture
def features():
    torch.manual_seed(1)
    return torch.randn(4, 2, 2, 3, 3, dtype=torch.float64)


def as_torch(norm: TaskNorm) -> nn.BatchNorm3d:
    reference = nn.BatchNorm3d(2).double().train(norm.training)
    keys = reference.state_dict().keys()
    reference.load_state_dict({key: norm.state_dict()[key] for key in keys})
    return reference


@pytest.mark.parametrize("training", [True, False])
def test_shared_norm_sees_the_whole_mixed_batch(norm, features, training):
    norm.train(training)
    reference = as_torch(norm)
    groups = TaskGroups([0, 0, 1, 2], NAMES)
    assert torch.equal(norm(features, groups), reference(features))
    assert torch.equal(norm.running_mean, reference.running_mean)


def test_private_tasks_use_their_copy_and_the_others_share_one(norm, features):
    norm.add_private("green", training=True)
    with torch.no_grad():
        norm.of("green").weight.mul_(3)
    shared, private = as_torch(norm), as_torch(norm.of("green"))
    result = norm(features, TaskGroups([0, 1, 1, 2], NAMES))
    torch.testing.assert_close(result[[0, 3]], shared(features[[0, 3]]))
    torch.testing.assert_close(result[1:3], private(features[1:3]))
    torch.testing.assert_close(norm.running_var, shared.running_var)
    torch.testing.assert_close(norm.of("green").running_var, private.running_var)


def test_private_copy_starts_as_the_shared_norm_and_owns_its_memory(norm):
    norm.add_private("green", training=False)
    private = norm.of("green")
    before = {k: v.clone() for k, v in norm.effective_state().items()}
    for key, tensor in private.effective_state().items():
        assert torch.equal(tensor, before[key])
    with torch.no_grad():
        private.weight.add_(1)
        private.running_mean.add_(1)
    for key, tensor in norm.effective_state().items():
        assert torch.equal(tensor, before[key])


def test_frozen_norm_ignores_training_mode_but_a_private_copy_follows(norm, features):
    norm.freeze()
    norm.add_private("green", training=True)
    norm.train()
    before = copy.deepcopy(norm.state_dict())
    norm(features, TaskGroups([0, 0, 1, 1], NAMES))
    assert not norm.training
    assert norm.of("green").training
    after = norm.state_dict()
    assert torch.equal(after["running_mean"], before["running_mean"])
    assert after["num_batches_tracked"] == before["num_batches_tracked"]
    assert not torch.equal(
        after["private_green.running_mean"], before["private_green.running_mean"]
    )
    assert not norm.weight.requires_grad
    assert norm.of("green").weight.requires_grad
