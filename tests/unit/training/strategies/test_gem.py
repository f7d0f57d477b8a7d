import torch

from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.strategies.gem import GEMPlugin


class Angles(SupervisedPlugin):
    """Products of each step's gradient with those over the memories."""

    def __init__(self, gem):
        super().__init__()
        self.gem, self.products = gem, []

    def before_update(self, strategy, **_):
        if strategy.clock.train_exp_counter:
            parameters = strategy.model.parameters()
            gradient = torch.cat(
                [
                    torch.zeros(p.numel()) if p.grad is None else p.grad.flatten()
                    for p in parameters
                ]
            )
            self.products += (self.gem.G @ gradient).tolist()


def test_no_step_points_against_the_gradient_of_a_memory(fine_tuning, benchmark):
    plugin = GEMPlugin(patches=8, margin=0.0)
    angles = Angles(plugin.gem)
    strategy = fine_tuning(plugin, angles, extension_epochs=10)
    for experience in benchmark.train_stream:
        strategy.train(experience)
    assert len(angles.products) == 10 + 2 * 10
    assert min(angles.products) > -1e-3


def test_it_comes_back_from_its_state(fine_tuning, benchmark, tmp_path):
    plugin = GEMPlugin(patches=3)
    fine_tuning(SeedingPlugin(0), plugin).train(benchmark.train_stream[0])
    torch.save(plugin.state_dict(), tmp_path / "gem.pt")
    again = GEMPlugin(patches=3)
    again.load_state_dict(torch.load(tmp_path / "gem.pt", weights_only=True))
    assert again.gem.memory_x[0].shape == (3, 1, 4, 8, 8)
    assert torch.equal(again.gem.memory_x[0], plugin.gem.memory_x[0])
    assert torch.equal(again.gem.memory_y[0], plugin.gem.memory_y[0])
    assert torch.equal(again.gem.memory_tid[0], plugin.gem.memory_tid[0])
