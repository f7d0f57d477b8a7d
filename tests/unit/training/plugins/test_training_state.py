"""A run that was interrupted ends with the network of the undisturbed one."""

from functools import partial
from types import MappingProxyType

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import ModelCard, RepModeUNet, load_model
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.methods.pipofan import PipoFan
from continual_repmode.models.methods.tgnet import TGNet
from continual_repmode.results import RunFolder
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.loop import run_stream
from continual_repmode.training.losses import mae_ssim
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategies.agem import AGEMPlugin
from continual_repmode.training.strategies.cumulative import CumulativePlugin
from continual_repmode.training.strategies.der import DERPlugin
from continual_repmode.training.strategies.ewc import EWCPlugin
from continual_repmode.training.strategies.gem import GEMPlugin
from continual_repmode.training.strategies.lwf import LwFPlugin
from continual_repmode.training.strategies.mas import MASPlugin
from continual_repmode.training.strategies.replay import ReplayPlugin
from continual_repmode.training.strategies.si import SIPlugin
from continual_repmode.training.strategy import Adapter, Naive

METHODS = {
    "agem": lambda: AGEMPlugin(patches=8, patches_per_step=4),
    "cumulative": lambda: CumulativePlugin(),
    "der": lambda: DERPlugin(patches=8, patches_per_step=4),
    "ewc": lambda: EWCPlugin(strength=1000.0),
    "gem": lambda: GEMPlugin(patches=4),
    "lwf": lambda: LwFPlugin(),
    "mas": lambda: MASPlugin(strength=10.0),
    "replay": lambda: ReplayPlugin(patches=8, patches_per_step=4),
    "si": lambda: SIPlugin(strength=10.0),
}
NETWORKS = {
    "multinet": partial(MultiNet, width=2, depth=1),
    "pipofan": partial(PipoFan, width=2, depth=1),
    "repmode": partial(RepModeUNet, width=2, depth=1),
    "tgnet": partial(TGNet, width=2, depth=1),
}
"""Their tasks have parts of their own in the midst of the network."""


class Stop(Exception):
    pass


class Kill(SupervisedPlugin):
    """Stops in an experience: in the middle of an epoch, or when it is learned."""

    def __init__(self, experience, epoch=None):
        super().__init__()
        self.experience, self.epoch = experience, epoch

    def after_training_iteration(self, strategy, **_):
        here = strategy.experience.current_experience, strategy.clock.train_exp_epochs
        if here == (self.experience, self.epoch):
            raise Stop

    def before_eval(self, strategy, **_):
        if self.epoch is None and len(strategy.current_eval_stream) > self.experience:
            raise Stop


@pytest.fixture
def go(fine_tuning, benchmark, tmp_path):
    """Begin a run, or go on with it, as the command does."""

    def go(method, name, kill=None, loop=MappingProxyType({}), kind=Naive, **network):
        folder = RunFolder(tmp_path / name)
        state = TrainingStatePlugin(folder.state)
        plugins = [SeedingPlugin(0), OneCyclePlugin(), state]
        plugins += [METHODS[method]()] if method else []
        plugins += [kill] if kill else []
        options = {"train_epochs": 3, "validate_every": 2, **loop}
        strategy = fine_tuning(*plugins, kind=kind, **network, **options)
        done = folder.records()
        if done:
            net = load_model(folder.checkpoint(len(done) - 1))
            chosen = torch.optim.Adam(net.parameters(), lr=0.01)
            options = {"train_mb_size": 4, "window": (8, 16, 16), **options}
            strategy = kind(model=net, optimizer=chosen, plugins=plugins, **options)
        run_stream(
            strategy,
            benchmark,
            folder,
            state=state,
            card=ModelCard(),
            after_experience=lambda: None,
        )
        return folder

    return go


@pytest.mark.parametrize("method", METHODS)
def test_interrupted_within_and_between_experiences_it_ends_the_same_to_the_bit(
    go, method
):
    undisturbed = go(method, "undisturbed")
    kills = [Kill(1, 1), Kill(1), Kill(2, 2)]
    for kill in kills:  # within the second, when it is learned, within the third
        with pytest.raises(Stop):
            go(method, "interrupted", kill)
    interrupted = go(method, "interrupted")
    for index in range(3):
        expected = undisturbed.checkpoint(index).read_bytes()
        assert interrupted.checkpoint(index).read_bytes() == expected
    curves = [[r.curve for r in f.records()] for f in (undisturbed, interrupted)]
    assert curves[0] == curves[1]
    assert not interrupted.state.exists()


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_that_grew_twice_goes_on_to_the_bit(go, network):
    network = NETWORKS[network]
    undisturbed = go(None, "undisturbed", network=network)
    with pytest.raises(Stop):
        go(None, "interrupted", Kill(2, 1), network=network)
    interrupted = go(None, "interrupted", network=network)
    expected = undisturbed.checkpoint(2).read_bytes()
    assert interrupted.checkpoint(2).read_bytes() == expected


def test_averaged_weights_and_balanced_batches_go_on_to_the_bit(go):
    options = {
        "loop": {"ema": 0.9, "mixing": "balanced", "criterion": mae_ssim},
        "network": NETWORKS["repmode"],
    }
    undisturbed = go("der", "undisturbed", **options)
    with pytest.raises(Stop):
        go("der", "interrupted", Kill(1, 2), **options)
    interrupted = go("der", "interrupted", **options)
    for index in range(3):
        expected = undisturbed.checkpoint(index).read_bytes()
        assert interrupted.checkpoint(index).read_bytes() == expected


@pytest.mark.parametrize("adapter", ["low_rank2", "grouped"])
def test_adapters_go_on_to_the_bit(go, adapter):
    loop = {"outer_rate": 10.0, "ema": 0.9}
    options = {"kind": partial(Adapter, adapter=adapter), "loop": loop}
    undisturbed = go(None, "undisturbed", **options)
    for kill in (Kill(1, 1), Kill(1), Kill(2, 1)):
        with pytest.raises(Stop):
            go(None, "interrupted", kill, **options)
    interrupted = go(None, "interrupted", **options)
    for index in range(3):
        expected = undisturbed.checkpoint(index).read_bytes()
        assert interrupted.checkpoint(index).read_bytes() == expected
    assert all(p["unchanged"] for r in interrupted.records() for p in r.proofs)


def test_only_the_last_two_memories_are_kept(go, tmp_path):
    with pytest.raises(Stop):
        go("replay", "run", Kill(2, 0))
    state = tmp_path / "run" / "state"
    kept = [path.name for path in sorted(state.iterdir())]
    assert kept == ["memory_0.pt", "memory_1.pt"]


def test_a_run_whose_memory_is_gone_is_told(go, tmp_path):
    with pytest.raises(Stop):
        go("ewc", "run", Kill(1, 0))
    memory = tmp_path / "run" / "state" / "memory_0.pt"
    assert torch.load(memory, weights_only=True)
    memory.unlink()
    with pytest.raises(UserError, match=r"memory_0\.pt: this file is missing"):
        go("ewc", "run")
