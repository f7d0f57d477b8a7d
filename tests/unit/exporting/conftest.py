"""Small networks with telling statistics, as model files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from continual_repmode.models import RepModeUNet
from continual_repmode.models.model_card import ModelCard, TaskCard
from continual_repmode.models.model_file import save_model
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.trained_model import TrainedModel

CARD = ModelCard(
    voxel_size_um=(0.29, 0.25, 0.2),
    tasks={
        "dna": TaskCard(target_mean=410.5, target_std=12.25),
        "lysosome": TaskCard(metrics={"r2": 0.5, "ssim": None}, num_images={"test": 3}),
    },
)


def randomize_norms(net: nn.Module) -> None:
    """Give normalization statistics that fold into kernels of about unit gain."""
    generator = torch.Generator().manual_seed(5)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm3d):
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.3, generator=generator)
                norm.running_mean.normal_(0, 0.1, generator=generator)
                norm.running_var.uniform_(0.02, 0.1, generator=generator)


@pytest.fixture(scope="session")
def make_net() -> Callable[..., TaskNetwork]:
    """Build a small network in evaluation mode; RepMode has an extension."""

    def make(network: type[TaskNetwork] = RepModeUNet, **arguments) -> TaskNetwork:
        torch.manual_seed(0)
        net = network(**{"task_names": ("dna", "nucleolus"), "width": 2} | arguments)
        if isinstance(net, RepModeUNet) and net.gate_input == "task":
            net.add_task("lysosome", private_bn=True)
        randomize_norms(net)
        return net.eval()

    return make


@pytest.fixture(scope="session")
def make_model(make_net, tmp_path_factory) -> Callable[..., TrainedModel]:
    """Write such a network to ``model.safetensors`` and read it."""

    def make(card: ModelCard = CARD, **arguments) -> TrainedModel:
        path: Path = tmp_path_factory.mktemp("source") / "model.safetensors"
        save_model(make_net(**arguments), path, card)
        return TrainedModel.load(path)

    return make
