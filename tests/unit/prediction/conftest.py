"""A tiny network with a card, light, and the slow and obvious way to predict."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models import RepModeUNet, deploy, save_model
from continual_repmode.models.model_card import ModelCard, TaskCard
from continual_repmode.trained_model import TrainedModel
from continual_repmode.volumes.normalization import zscore
from continual_repmode.volumes.resampling import resample, resize

TASKS = ("dna", "nucleolus")
CARD = ModelCard(
    voxel_size_um=(0.3, 0.3, 0.3),
    resize="paper",
    order="zscore_first",
    window=(4, 8, 8),
    overlap=(0.5, 0.5, 0.5),
    tasks={"dna": TaskCard(target_mean=400.0, target_std=25.0)},
)


@pytest.fixture
def card() -> ModelCard:
    return CARD


@pytest.fixture(scope="session")
def net() -> RepModeUNet:
    """Return a network that predicts values with a deviation of about 1."""
    torch.manual_seed(0)
    made = RepModeUNet(TASKS, width=2, depth=1).eval()
    with torch.no_grad():
        spread = made(torch.randn(1, 1, 8, 16, 16), 0).std()
        for kernel in made.unet.output.conv.experts.parameters():
            kernel /= spread
    return made


@pytest.fixture
def model(net: RepModeUNet, card: ModelCard) -> TrainedModel:
    return TrainedModel(net, card)


@pytest.fixture
def model_file(net: RepModeUNet, card: ModelCard, tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.safetensors"
    save_model(net, path, card)
    return path


@pytest.fixture
def light() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (1000 + 500 * gaussian_filter(rng.normal(size=(7, 22, 26)), 1)).astype(
        np.uint16
    )


Obvious = Callable[..., np.ndarray]


@pytest.fixture
def obvious(net: RepModeUNet) -> Obvious:
    """Predict with everything in memory, in the order in which the paper does it."""

    def predict(
        raw: np.ndarray,
        um: Sequence[float],
        task: str,
        window: Sequence[int] = (4, 8, 8),
    ) -> np.ndarray:
        signal, _ = zscore(raw)
        grid = resample(signal, um, CARD.voxel_size_um, "paper")
        network = deploy(net, task).eval()
        predicted = predict_volume(network, torch.from_numpy(grid), window=window)
        return resize(predicted.numpy(), raw.shape, "paper")

    return predict
