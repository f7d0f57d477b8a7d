import pytest
import torch
import torch.nn.functional as F

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.strategies.der import DERPlugin


def test_patches_are_stored_with_the_predictions_of_the_kept_weights(
    fine_tuning, benchmark
):
    plugin = DERPlugin(patches=6, patches_per_step=2)
    strategy = fine_tuning(plugin, train_epochs=5)
    strategy.train(benchmark.train_stream[0])
    signal, _, stored, labels = plugin.memory.draw(6, torch.device("cpu"))
    strategy.net.eval()
    with torch.no_grad():
        torch.testing.assert_close(stored, strategy.net(signal, labels))


@pytest.mark.parametrize("criterion", [F.mse_loss, F.l1_loss])
@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.0), (0.5, 0.5)])
def test_the_loss_gains_the_distance_from_stored_outputs_and_its_own_for_targets(
    fine_tuning, benchmark, alpha, beta, criterion
):
    class Compare(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.gained, self.expected = [], []

        def before_backward(self, strategy, **_):
            if not len(plugin.memory):
                return
            base, state = strategy.loss.item(), torch.get_rng_state()
            strategy.net.eval()
            plugin.before_backward(strategy)
            self.gained.append(strategy.loss.item() - base)
            torch.set_rng_state(state)
            drawn = plugin.memory.draw(3, torch.device("cpu"))
            signal, target, stored, labels = drawn
            with torch.no_grad():
                output = strategy.net(signal, labels)
            far = torch.mean((output - stored) ** 2).item()
            wrong = criterion(output, target).item()
            self.expected.append(alpha * far + beta * wrong)
            strategy.net.train()

    class Store(SupervisedPlugin):
        def after_training_exp(self, strategy, **_):
            plugin.after_training_exp(strategy)

    plugin = DERPlugin(patches=6, patches_per_step=3, alpha=alpha, beta=beta)
    compare = Compare()
    strategy = fine_tuning(Store(), compare, criterion=criterion)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    assert compare.gained == pytest.approx(compare.expected, rel=1e-3, abs=1e-6)
    assert compare.gained[-1] > 0
