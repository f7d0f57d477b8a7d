import torch

from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.strategies.ewc import EWCPlugin


def test_importance_is_the_mean_squared_gradient_of_the_batches(fine_tuning, benchmark):
    plugin = EWCPlugin(strength=1.0)
    strategy = fine_tuning(plugin, train_mb_size=8)
    torch.manual_seed(3)
    strategy.train(benchmark.train_stream[0])
    dataset = benchmark.train_stream[0].dataset
    strategy.model.eval()

    items = [dataset[index] for index in range(len(dataset))]

    class Recorded:  # the same patches for both
        collate_fn = staticmethod(dataset.collate_fn)

        def __len__(self):
            return len(items)

        def __getitem__(self, index):
            return items[index]

    found = plugin.ewc.compute_importances(
        strategy.model,
        strategy._criterion,
        strategy.optimizer,
        Recorded(),
        strategy.device,
        8,
    )
    strategy.model.eval()
    signal, target, labels = dataset.collate_fn(items)
    strategy.optimizer.zero_grad()
    loss = torch.mean((strategy.model(signal, labels) - target) ** 2)
    loss.backward()
    for name, parameter in strategy.model.named_parameters():
        expected = parameter.grad.square()
        torch.testing.assert_close(found[name].data, expected, rtol=1e-4, atol=1e-10)
    assert sum(value.data.sum() for value in found.values()) > 0


def test_it_comes_back_from_its_state(fine_tuning, benchmark, tmp_path):
    plugin = EWCPlugin(strength=10.0)
    strategy = fine_tuning(SeedingPlugin(0), plugin)
    for experience in benchmark.train_stream[:2]:
        strategy.train(experience)
    torch.save(plugin.state_dict(), tmp_path / "ewc.pt")
    again = EWCPlugin(strength=10.0)
    again.load_state_dict(torch.load(tmp_path / "ewc.pt", weights_only=True))
    assert set(again.ewc.importances) == {0, 1}
    with torch.no_grad():
        for parameter in strategy.net.parameters():
            parameter.add_(0.1)
    losses = []
    for found in (plugin, again):
        strategy.loss = torch.zeros(())
        found.before_backward(strategy)
        losses.append(strategy.loss.item())
    assert losses[0] == losses[1] > 0
