"""Each baseline forgets less than fine-tuning with the same number of steps."""

import pytest
import torch

from continual_repmode.models import RepModeUNet
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.scenario import Scenario
from continual_repmode.training.metric_plugins import regression_metrics
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.strategies.agem import AGEMPlugin
from continual_repmode.training.strategies.cumulative import CumulativePlugin
from continual_repmode.training.strategies.der import DERPlugin
from continual_repmode.training.strategies.ewc import EWCPlugin
from continual_repmode.training.strategies.gem import GEMPlugin
from continual_repmode.training.strategies.lwf import LwFPlugin
from continual_repmode.training.strategies.mas import MASPlugin
from continual_repmode.training.strategies.replay import ReplayPlugin
from continual_repmode.training.strategies.si import SIPlugin
from continual_repmode.training.strategy import Individual, Naive, RepMode
from continual_repmode.training.streams import build_benchmark

STREAM = [["dna", "nuclear_envelope"], ["nucleolus"]]
OLD = STREAM[0]


def one_trunk(tasks):
    return MultiHeadUNet(tasks, part="output", width=4, depth=1, kernel_size=3)


@pytest.fixture
def learn(tiny_collection):
    """Learn a stream; return the errors of the old tasks before and after its end."""

    def learn(
        kind=Naive,
        plugin=None,
        *,
        net=one_trunk,
        stream=STREAM,
        extension_epochs=30,
        optimizer=torch.optim.Adam,
        lr=0.01,
    ):
        benchmark = build_benchmark(
            Scenario(name="tiny", experiences=stream),
            data=tiny_collection,
            patch_size=(4, 8, 8),
        )
        torch.manual_seed(0)
        model = net(benchmark.base_tasks)
        strategy = kind(
            model=model,
            optimizer=optimizer(model.parameters(), lr=lr),
            train_mb_size=4,
            train_epochs=30,
            extension_epochs=extension_epochs,
            window=(8, 16, 16),
            validate_every=5,
            plugins=[SeedingPlugin(0), *([plugin] if plugin else [])],
        )
        errors = []
        for index, experience in enumerate(benchmark.train_stream):
            strategy.train(experience)
            strategy.eval(benchmark.test_stream[: index + 1])
            errors.append(error_of_old_tasks(strategy))
        return errors[0], errors[-1], strategy

    return learn


def error_of_old_tasks(strategy):
    rows = regression_metrics(strategy.evaluator).rows
    found = [row.metrics.mse for row in rows if row.task in OLD]
    return sum(found) / len(found)


@pytest.fixture(scope="module")
def measured():
    return {}


@pytest.fixture
def forgetting_of_naive(learn, measured):
    """Forgetting and number of steps of fine-tuning, measured once per optimizer."""

    def forgetting(optimizer=torch.optim.Adam, lr=0.01):
        if optimizer not in measured:
            before, after, strategy = learn(optimizer=optimizer, lr=lr)
            measured[optimizer] = after - before, strategy.clock.train_iterations
        return measured[optimizer]

    return forgetting


PLUGINS = {
    "replay": lambda: ReplayPlugin(patches=12, patches_per_step=4),
    "der": lambda: DERPlugin(patches=12, patches_per_step=4),
    "plain der": lambda: DERPlugin(patches=12, patches_per_step=4, alpha=1, beta=0),
    "lwf": lambda: LwFPlugin(),
    "ewc": lambda: EWCPlugin(strength=1e4),
    "si": lambda: SIPlugin(strength=10.0),
    "mas": lambda: MASPlugin(strength=10.0),
}


@pytest.mark.parametrize("name", PLUGINS)
def test_the_method_forgets_less_than_two_thirds_of_fine_tuning(
    learn, forgetting_of_naive, name
):
    lost, steps = forgetting_of_naive()
    assert lost > 0.2
    before, after, strategy = learn(plugin=PLUGINS[name]())
    assert strategy.clock.train_iterations == steps
    assert after - before < lost * 2 / 3


GRADIENT_PLUGINS = {
    "gem": lambda: GEMPlugin(patches=24),
    "agem": lambda: AGEMPlugin(patches=24, patches_per_step=24),
}


@pytest.mark.parametrize("name", GRADIENT_PLUGINS)
def test_projected_gradients_forget_less_where_the_optimizer_follows_them(
    learn, forgetting_of_naive, name
):
    """Plain gradient steps: Adam's scaling undoes part of a projection."""
    plain = {"optimizer": torch.optim.SGD, "lr": 0.1}
    lost, steps = forgetting_of_naive(**plain)
    before, after, strategy = learn(plugin=GRADIENT_PLUGINS[name](), **plain)
    assert strategy.clock.train_iterations == steps
    assert after - before < lost * 0.95


def test_the_data_of_all_experiences_do_not_let_it_forget(learn, forgetting_of_naive):
    lost, steps = forgetting_of_naive()
    before, after, strategy = learn(plugin=CumulativePlugin(), extension_epochs=10)
    assert strategy.clock.train_iterations == steps
    assert after - before < lost / 3


def test_learning_everything_at_once_ends_better_than_fine_tuning(learn):
    _, fine_tuned, naive = learn()
    _, together, joint = learn(stream=[[*OLD, "nucleolus"]])
    assert joint.clock.train_iterations == naive.clock.train_iterations
    assert together < fine_tuned


def test_repmode_and_individual_networks_forget_nothing_at_all(learn):
    def repmode(tasks):
        return RepModeUNet(tasks, width=2, depth=1)

    def individual(tasks):
        return MultiNet(tasks, width=2, depth=1, kernel_size=3)

    for kind, net in ((RepMode, repmode), (Individual, individual)):
        before, after, strategy = learn(kind, net=net, extension_epochs=3)
        assert after == before
        assert all(proof.unchanged for proof in strategy.proof.proofs)
