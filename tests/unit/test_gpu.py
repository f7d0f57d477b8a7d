"""A GPU computes what a CPU does: ``pytest -m gpu`` on a machine with one."""

import copy

import pytest
import torch

from continual_repmode.inference.tiled import predict_volume
from continual_repmode.models import ModelCard, RepModeUNet, TaskCard, deploy
from continual_repmode.prediction.options import PredictOptions
from continual_repmode.prediction.setup import Setup
from continual_repmode.runtime import computes_bf16
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training.plugins.unchanged_tasks import ForgettingError
from continual_repmode.training.strategy import RepMode
from continual_repmode.training.streams import build_benchmark
from tests.unit.training.conftest import STREAM

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def _exact_products(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return RepModeUNet(("dna", "nucleolus"), width=8, depth=2)


def test_a_step_has_the_gradients_of_a_cpu(net):
    signal, target = torch.randn(2, 4, 1, 16, 32, 32)
    labels = torch.tensor([0, 1, 1, 0])
    there = copy.deepcopy(net).to(CUDA)
    for each, device in ((net, "cpu"), (there, CUDA)):
        predicted = each.train()(signal.to(device), labels.to(device))
        (predicted - target.to(device)).square().mean().backward()
    for (name, here), other in zip(
        net.named_parameters(), there.parameters(), strict=True
    ):
        scale = here.grad.norm().clamp_min(1e-6)
        assert (other.grad.cpu() - here.grad).norm() < 1e-3 * scale, name


def test_a_volume_is_predicted_as_on_a_cpu_in_any_batch(net):
    volume = torch.randn(20, 50, 60)
    network = deploy(net.eval(), "dna").eval()
    here = predict_volume(network, volume, window=(16, 32, 32))
    for batch_size in (1, 8):
        found = predict_volume(
            copy.deepcopy(network).to(CUDA),
            volume,
            window=(16, 32, 32),
            batch_size=batch_size,
            device=CUDA,
        )
        assert (found - here).abs().max() < 1e-3 * here.std()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_stream_is_learned_with_unchanged_old_tasks(tiny_collection, precision):
    benchmark = build_benchmark(STREAM, data=tiny_collection, patch_size=(4, 8, 8))
    torch.manual_seed(0)
    strategy = RepMode(
        model=RepModeUNet(task_names=benchmark.base_tasks, width=4, depth=1),
        train_mb_size=4,
        train_epochs=6,
        window=(8, 16, 16),
        device="cuda",
        precision=precision,
    )
    try:
        for experience in benchmark.train_stream:
            strategy.train(experience)
    except ForgettingError as error:
        pytest.fail(str(error))
    assert all(proof.unchanged for proof in strategy.proof.proofs)
    curve = [point.train_loss for point in strategy.validation.curve]
    assert curve[-1] < curve[0]


def test_the_short_precision_is_taken_where_the_device_has_it(net):
    known = TaskCard(metrics={"mse": 0.5})
    card = ModelCard(
        voxel_size_um=(0.3,) * 3, window=(16, 32, 32), tasks={"dna": known}
    )
    options = PredictOptions(tasks="dna", precision="auto", device="cuda")
    setup = Setup.of(TrainedModel(net.eval(), card), options)
    assert (setup.precision == "bfloat16") == computes_bf16(CUDA)
