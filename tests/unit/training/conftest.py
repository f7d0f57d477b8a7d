"""A stream of two base tasks and two that arrive later, and strategies for it."""

import pytest
import torch

from continual_repmode.models import RepModeUNet
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.scenario import Scenario
from continual_repmode.training.strategy import Naive
from continual_repmode.training.streams import build_benchmark

STREAM = Scenario(
    name="tiny",
    experiences=[["dna", "nuclear_envelope"], ["nucleolus"], ["cell_membrane"]],
)
LOOP = {"train_mb_size": 4, "train_epochs": 2, "window": (8, 16, 16)}


@pytest.fixture
def benchmark(tiny_collection):
    return build_benchmark(STREAM, data=tiny_collection, patch_size=(4, 8, 8))


@pytest.fixture
def make_strategy(benchmark):
    def make(kind, *, optimizer=torch.optim.Adam, lr=0.01, **options):
        torch.manual_seed(0)
        net = RepModeUNet(task_names=benchmark.base_tasks, width=4, depth=1)
        chosen = optimizer(net.parameters(), lr=lr)
        return kind(model=net, optimizer=chosen, **{**LOOP, **options})

    return make


@pytest.fixture
def fine_tuning(benchmark):
    """A network with one output per task, fine-tuned with the plugins under test."""

    def multihead(tasks):
        return MultiHeadUNet(tasks, part="output", width=2, depth=1, kernel_size=3)

    def make(
        *plugins,
        network=multihead,
        kind=Naive,
        optimizer=torch.optim.Adam,
        lr=0.01,
        **loop,
    ):
        torch.manual_seed(0)
        net = network(benchmark.base_tasks)
        loop = {"train_mb_size": 4, "train_epochs": 2, "window": (8, 16, 16), **loop}
        chosen = optimizer(net.parameters(), lr=lr)
        return kind(model=net, optimizer=chosen, plugins=plugins, **loop)

    return make
