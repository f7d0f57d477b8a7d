"""Mean and deviation over orientations and networks, against plain loops."""

import numpy as np
import pytest
import torch

from continual_repmode.inference.symmetries import Ensemble
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models import RepModeUNet, deploy


def orientations(plane: np.ndarray) -> list[np.ndarray]:
    """Return the plane as it is, turned, transposed and so on: eight of them."""
    turned = [np.rot90(plane, k, (-2, -1)) for k in range(4)]
    return [*turned, *(each.swapaxes(-2, -1) for each in turned)]


def back(plane: np.ndarray, index: int) -> np.ndarray:
    straight = plane.swapaxes(-2, -1) if index >= 4 else plane
    return np.rot90(straight, -(index % 4), (-2, -1))


@pytest.mark.parametrize("sides", [(4, 8, 8), (3, 6, 10), (1, 5, 5)])
def test_mean_and_deviation_are_those_of_all_answers(sides):
    generator = torch.Generator().manual_seed(0)
    windows = torch.randn(2, 1, *sides, generator=generator)

    def skewed(given: torch.Tensor) -> torch.Tensor:
        """Predict other values in each orientation."""
        y, x = torch.arange(given.shape[-2]), torch.arange(given.shape[-1])
        return given * (1 + 0.1 * y[:, None] + 0.03 * x)

    networks = [skewed, lambda given: skewed(given) ** 2]

    found = Ensemble(networks, symmetric=True, deviation=True)(windows).numpy()

    answers = np.stack(
        [
            back(network(torch.from_numpy(turned.copy())).numpy(), index)
            for index, turned in enumerate(orientations(windows.numpy()))
            for network in networks
        ]
    )
    np.testing.assert_allclose(found[:, :1], answers.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[:, 1:], answers.std(0), rtol=1e-4, atol=1e-6)
    only_models = Ensemble(networks, deviation=True)(windows).numpy()
    straight = np.stack([network(windows).numpy() for network in networks])
    np.testing.assert_allclose(only_models[:, :1], straight.mean(0), rtol=1e-5)
    np.testing.assert_allclose(
        only_models[:, 1:], straight.std(0), rtol=1e-4, atol=1e-6
    )


def test_a_symmetric_network_is_sure_and_predicts_the_same():
    light = torch.randn(6, 20, 20, generator=torch.Generator().manual_seed(0))
    for symmetric in (True, False):
        torch.manual_seed(0)
        net = RepModeUNet(("dna",), width=2, depth=1).eval()
        for parameter in net.parameters() if symmetric else ():
            if parameter.ndim == 5 and parameter.shape[-1] > 1:
                kernels = orientations(parameter.detach().numpy())
                mean = np.mean(kernels, axis=0)
                parameter.data.copy_(torch.from_numpy(mean))
        network = deploy(net, "dna").eval()
        plain = predict_volume(network, light, window=(4, 8, 8))
        ensemble = Ensemble([network], symmetric=True, deviation=True)

        mean, deviation = predict_volume(ensemble, light, window=(4, 8, 8))

        spread = plain.std()
        if symmetric:
            torch.testing.assert_close(mean / spread, plain / spread)
        relative = float(deviation.mean() / spread)
        assert relative < 1e-5 if symmetric else relative > 0.05
