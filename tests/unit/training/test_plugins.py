"""Each plugin on its own terms; the strategies' promises are in test_strategy."""

import copy
from types import SimpleNamespace

import pytest
import torch

from continual_repmode.runtime import seed_everything
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.plugins.finite_guard import (
    FiniteGuardPlugin,
    NonFiniteError,
)
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin, one_cycle
from continual_repmode.training.plugins.progress import ProgressPlugin
from continual_repmode.training.plugins.samples import SamplesPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.plugins.unchanged_tasks import UnchangedTasksPlugin
from continual_repmode.training.plugins.validation import ValidationPlugin
from continual_repmode.training.strategies.repmode import StoredGatesPlugin
from continual_repmode.training.strategy import RepMode

PLUGINS = [
    FiniteGuardPlugin,
    OneCyclePlugin,
    ProgressPlugin,
    SamplesPlugin,
    SeedingPlugin,
    StoredGatesPlugin,
    TrainingStatePlugin,
    UnchangedTasksPlugin,
    ValidationPlugin,
]


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda plugin: plugin.__name__)
def test_every_hook_is_one_that_avalanche_calls(plugin):
    """Avalanche skips a misspelt hook silently."""
    hooks = [n for n in vars(plugin) if n.startswith(("before_", "after_"))]
    assert hooks
    assert all(hasattr(SupervisedPlugin, name) for name in hooks)


class TestSeeding:
    def test_a_seeded_run_repeats_to_the_bit(self, make_strategy, benchmark):
        def run():
            strategy = make_strategy(RepMode, plugins=[SeedingPlugin(7)])
            for experience in benchmark.train_stream[:2]:
                torch.rand(torch.randint(1, 9, ()))  # whatever was drawn before
                strategy.train(experience)
            return strategy.net.state_dict()

        one, other = run(), run()
        assert all(torch.equal(one[name], other[name]) for name in one)

    def test_different_parts_of_a_run_draw_different_numbers(self):
        draws = []
        for entropy in [(0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)]:
            seed_everything(*entropy)
            draws.append(torch.rand(()).item())
        assert len(set(draws)) == 4


class TestOneCycle:
    def test_rises_to_the_peak_then_falls(self):
        factors = [one_cycle(step / 100) for step in range(101)]
        top = factors.index(max(factors))
        assert factors[top] == 1.0
        assert factors[:top] == sorted(factors[:top])
        assert factors[top:] == sorted(factors[top:], reverse=True)

    def test_every_experience_starts_from_the_optimizers_rate(
        self, make_strategy, benchmark
    ):
        class Rates(SupervisedPlugin):
            def __init__(self):
                super().__init__()
                self.rates = []

            def before_update(self, strategy, **_):
                self.rates.append(strategy.optimizer.param_groups[0]["lr"])

        rates = Rates()
        strategy = make_strategy(
            RepMode, lr=0.01, train_epochs=10, plugins=[OneCyclePlugin(), rates]
        )
        for experience in benchmark.train_stream[:2]:
            strategy.train(experience)
        base, extension = rates.rates[:20], rates.rates[20:]
        assert max(base) == pytest.approx(0.01)
        assert max(extension) == pytest.approx(0.01)
        assert base[-1] < 0.001

    def test_every_group_has_its_own_peak_a_late_one_too_and_after_resuming(
        self, make_strategy, benchmark, tmp_path
    ):
        class Groups(SupervisedPlugin):
            """In the second experience, fills the second group and adds a third."""

            def before_training_exp(self, strategy, **_):
                groups, self.rates = strategy.optimizer.param_groups, []
                if strategy.experience.current_experience == 1:
                    groups[1]["params"] = [groups[0]["params"].pop()]
                    new = {"params": [groups[0]["params"].pop()], "lr": 0.4}
                    strategy.optimizer.add_param_group(new)

            def before_update(self, strategy, **_):
                groups = strategy.optimizer.param_groups
                self.rates.append([group["lr"] for group in groups])

        class Stop(Exception):
            pass

        class Kill(SupervisedPlugin):
            def after_training_iteration(self, strategy, **_):
                if strategy.clock.train_exp_epochs == 4:
                    raise Stop

        def two_groups(parameters, lr):
            groups = [{"params": list(parameters)}, {"params": [], "lr": 0.2}]
            return torch.optim.Adam(groups, lr=lr)

        def second_experience(net, name, *more):
            state = TrainingStatePlugin(tmp_path / name)
            groups = Groups()
            RepMode(
                model=copy.deepcopy(net),
                optimizer=two_groups([], 0.01),
                train_epochs=10,
                plugins=[SeedingPlugin(0), groups, OneCyclePlugin(), state, *more],
                **{"train_mb_size": 4, "window": (8, 16, 16)},
            ).train(benchmark.train_stream[1])
            return groups.rates

        base = make_strategy(
            RepMode, optimizer=two_groups, plugins=[OneCyclePlugin(), Groups()]
        )
        base.train(benchmark.train_stream[0])

        rates = second_experience(base.net, "undisturbed")
        for peak, of_group in zip(
            (0.01, 0.2, 0.4), zip(*rates, strict=True), strict=True
        ):
            assert max(of_group) == pytest.approx(peak)
            assert of_group[-1] < peak / 10
        with pytest.raises(Stop):
            second_experience(base.net, "killed", Kill())
        assert second_experience(base.net, "killed") == rates[4:]


class TestFiniteGuard:
    def test_names_image_task_epoch_and_step(self, make_strategy, benchmark):
        class Poison(SupervisedPlugin):
            """Spoils the target of the second sample of the second step."""

            def before_forward(self, strategy, **_):
                if strategy.clock.train_iterations == 1:
                    strategy.mbatch[1] = strategy.mb_y.clone()
                    strategy.mbatch[1][1, 0, 0, 0, 0] = float("inf")
                    self.culprit = strategy.batch_images()[1]

        poison = Poison()
        strategy = make_strategy(RepMode, plugins=[poison])
        with pytest.raises(NonFiniteError) as caught:
            strategy.train(benchmark.train_stream[0])
        message = str(caught.value)
        assert message.endswith(f"image {poison.culprit}")
        assert f"task {poison.culprit.split('-')[0]}" in message
        assert "epoch 1, step 2" in message

    def test_a_bad_gradient_never_reaches_the_weights(self, make_strategy, benchmark):
        class Explode(SupervisedPlugin):
            def before_backward(self, strategy, **_):
                strategy.loss = strategy.loss * float("inf")

        strategy = make_strategy(RepMode, plugins=[Explode()])
        with pytest.raises(NonFiniteError):
            strategy.train(benchmark.train_stream[0])
        assert all(torch.isfinite(p).all() for p in strategy.net.parameters())


class TestTrainingState:
    def test_the_state_loads_without_running_code(
        self, make_strategy, benchmark, tmp_path
    ):
        state = TrainingStatePlugin(tmp_path)
        make_strategy(RepMode, plugins=[state]).train(benchmark.train_stream[0])
        loaded = torch.load(tmp_path / "training.pt", weights_only=True)
        assert loaded["epochs_done"] == 2
        state.clear()
        assert not tmp_path.exists()


def test_samples_hold_one_volume_of_every_task(make_strategy, benchmark, tmp_path):
    import numpy as np

    strategy = make_strategy(RepMode, plugins=[SamplesPlugin(tmp_path)])
    strategy.train(benchmark.train_stream[0])
    strategy.eval(benchmark.test_stream[:1])
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "dna.npz",
        "nuclear_envelope.npz",
    ]
    with np.load(tmp_path / "dna.npz") as sample:
        assert str(sample["image"]) == "dna-test-0"
        assert sample["signal"].shape == sample["prediction"].shape == (8, 16, 16)


def test_samples_say_what_of_the_volume_they_are(monkeypatch, tmp_path):
    import numpy as np

    from continual_repmode.training.plugins import samples

    volume = torch.rand(1, 1, 65, 300, 7)
    pairs = [SimpleNamespace(name="large", task="dna")]
    monkeypatch.setattr(samples, "context_of", lambda _: SimpleNamespace(pairs=pairs))
    now = SimpleNamespace(mb_x=volume, mb_y=volume, mb_output=volume, experience=None)
    plugin = SamplesPlugin(tmp_path)
    plugin.before_eval_exp(now)
    plugin.after_eval_iteration(now)
    with np.load(tmp_path / "dna.npz") as sample:
        assert tuple(sample["shape"]) == (65, 300, 7)
        assert sample["box"].tolist() == [[0, 64], [22, 278], [0, 7]]
        part = volume[0, 0, :64, 22:278].half().numpy()
        np.testing.assert_array_equal(sample["target"], part)
        assert "scores computed from it differ" in str(sample["note"])
