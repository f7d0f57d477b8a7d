"""A small network with telling statistics, and the paper's formulas written out."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models import RepModeUNet, UNet3d, fingerprint

TASKS = ("red", "green", "blue")


def randomize_norms(net: nn.Module, seed: int = 5) -> None:
    generator = torch.Generator().manual_seed(seed)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm3d) and norm.affine:
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.normal_(0, 0.3, generator=generator)
                norm.running_mean.normal_(0, 0.3, generator=generator)
                norm.running_var.uniform_(0.4, 2.0, generator=generator)


def randomize_zeros(net: nn.Module, seed: int = 6) -> None:
    """Give parameters that start at zero other values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.3, generator=generator)


@pytest.fixture
def make_net():
    """Build a small float64 RepMode in evaluation mode with non-trivial statistics."""

    def make(**arguments: Any) -> RepModeUNet:
        torch.manual_seed(0)
        net = RepModeUNet(**{"task_names": TASKS, "width": 2, "depth": 2} | arguments)
        net.double()
        randomize_zeros(net)
        randomize_norms(net)
        return net.eval()

    return make


@pytest.fixture
def make_plain():
    """Build a small float64 plain U-Net in evaluation mode with such statistics."""

    def make(**arguments: Any) -> UNet3d:
        torch.manual_seed(0)
        net = UNet3d(**{"width": 2, "depth": 2} | arguments).double()
        randomize_norms(net)
        return net.eval()

    return make


@pytest.fixture
def make_signal():
    def make(*shape: int, seed: int = 1) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return make


def run_branch(name: str, weight: Tensor, features: Tensor, axes: str) -> Tensor:
    """Run one expert as the paper draws it: a convolution, or pooling then 1x1x1."""
    digits = name.removeprefix("avg").removeprefix("conv").split("_")[0]
    if name.startswith("avg"):
        k = int(digits)
        size = (k if axes == "ZYX" else 1, k, k)
        margins = [s // 2 for s in reversed(size) for _ in "ab"]
        pooled = F.avg_pool3d(F.pad(features, margins), size, stride=1)
        return F.conv3d(pooled, weight)
    padding = tuple(s // 2 for s in weight.shape[2:])
    return F.conv3d(features, weight, padding=padding)


@pytest.fixture(scope="session")
def branch():
    return run_branch


class ExplicitRepMode:
    """The network as formulas over its named tensors: every expert on every sample."""

    def __init__(self, net: RepModeUNet, training: bool) -> None:
        self.tensors = dict(net.named_parameters()) | dict(net.named_buffers())
        self.tasks = net.task_names
        self.depth = net.unet.depth
        self.axes = net.unet.axes
        self.training = training
        self.options = net.architecture()
        self.kinds = {
            f"extension_{extension['name']}": extension["expert"]
            for extension in self.options["extensions"]
        }
        self.mixes = {e["name"]: e["expert_mix"] for e in self.options["extensions"]}
        if self.options["private_expert"] is not None:
            for task in self.options["task_names"]:
                self.kinds[f"extension_{task}"] = self.options["private_expert"]
                self.mixes[task] = "additive"

    def gates(self, prefix: str, task: str, sample: Tensor, num_experts: int) -> Tensor:
        gate = f"{prefix}.gate"
        if f"{gate}.weights_{task}" in self.tensors:
            return self.tensors[f"{gate}.weights_{task}"]
        if f"{gate}.logits_{task}" in self.tensors:
            logits = self.tensors[f"{gate}.logits_{task}"]
        else:
            vector = self.gate_input(gate, task, sample)
            if self.options["gate_hidden"]:
                vector = self.linear(f"{gate}.hidden", vector).clamp_min(0)
            num_experts -= self.mixes.get(task) == "additive"
            logits = self.linear(f"{gate}.linear", vector).reshape(num_experts, -1)
        if self.mixes.get(task) == "additive":
            return torch.cat([logits.softmax(0), torch.ones_like(logits[:1])])
        if self.options["gate_activation"] == "sigmoid":
            return 1 / (1 + (-logits).exp())
        exponentials = logits.exp()
        return exponentials / exponentials.sum(0)

    def gate_input(self, gate: str, task: str, sample: Tensor) -> Tensor:
        if self.options["gate_input"] == "features":
            return sample.mean((2, 3, 4))[0]
        if self.options["task_embedding"] == "gaussian":
            return self.tensors[f"{gate}.embedding"][self.tasks.index(task)]
        one_hot = torch.zeros(len(self.options["task_names"]), dtype=sample.dtype)
        one_hot[self.tasks.index(task)] = 1
        return one_hot

    def linear(self, layer: str, vector: Tensor) -> Tensor:
        return self.tensors[f"{layer}.weight"] @ vector + self.tensors[f"{layer}.bias"]

    def mode_conv(self, place: str, x: Tensor, labels: list[int]) -> Tensor:
        prefix = f"unet.{place}.conv"
        if f"{prefix}.weight" in self.tensors:  # out of scope: a plain convolution
            rows = [
                self.plain_conv(place, x[row : row + 1], self.tasks[label])
                for row, label in enumerate(labels)
            ]
            return torch.cat(rows)
        start = f"{prefix}.experts."
        weights = {
            name.removeprefix(start).removesuffix(".weight"): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }
        rows = []
        for row, label in enumerate(labels):
            task = self.tasks[label]
            used = [
                name
                for name in weights
                if not name.startswith("extension_") or name == f"extension_{task}"
            ]
            gates = self.gates(prefix, task, x[row : row + 1], len(used))
            rows.append(
                sum(
                    gate[None, :, None, None, None]
                    * run_branch(
                        self.kinds.get(name, name),
                        weights[name],
                        x[row : row + 1],
                        self.axes,
                    )
                    for name, gate in zip(used, gates, strict=True)
                )
            )
        return torch.cat(rows)

    def plain_conv(self, place: str, sample: Tensor, task: str) -> Tensor:
        result = F.conv3d(
            sample, self.tensors[f"unet.{place}.conv.weight"], padding="same"
        )
        own = self.tensors.get(f"unet.{place}.adapter_{task}.expert.weight")
        if own is None:
            return result
        kind = self.kinds[f"extension_{task}"]
        return result + run_branch(kind, own, sample, self.axes)

    def norm_relu(self, place: str, x: Tensor, labels: list[int]) -> Tensor:
        """Normalize the samples of a task with its own norm, others with the shared."""
        rows: dict[str, list[int]] = {}
        for row, label in enumerate(labels):
            own = f"unet.{place}.norm.private_{self.tasks[label]}"
            shared = f"unet.{place}.norm"
            norm = own if f"{own}.weight" in self.tensors else shared
            rows.setdefault(norm, []).append(row)
        result = torch.empty_like(x)
        for norm, of_norm in rows.items():
            result[of_norm] = self.normalize_relu(norm, x[of_norm])
        return result

    def normalize_relu(self, norm: str, x: Tensor) -> Tensor:
        get = {
            key: self.tensors[f"{norm}.{key}"]
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        if self.training:
            mean = x.mean((0, 2, 3, 4))
            variance = x.var((0, 2, 3, 4), unbiased=False)
        else:
            mean, variance = get["running_mean"], get["running_var"]
        shape = (1, -1, 1, 1, 1)
        x = (x - mean.view(shape)) / (variance.view(shape) + 1e-5).sqrt()
        return (x * get["weight"].view(shape) + get["bias"].view(shape)).clamp_min(0)

    def __call__(self, signal: Tensor, labels: list[int]) -> Tensor:
        two = (2, 2, 2) if self.axes == "ZYX" else (1, 2, 2)

        def pair(level: str, x: Tensor) -> Tensor:
            for conv in ("conv1", "conv2"):
                place = f"{level}.{conv}"
                x = self.norm_relu(place, self.mode_conv(place, x, labels), labels)
            return x

        x, skips = signal, []
        for i in range(1, self.depth + 1):
            x = pair(f"encoder{i}", x)
            skips.append(x)
            place = f"encoder{i}.down"
            kernel = self.tensors[f"unet.{place}.conv.weight"]
            x = self.norm_relu(place, F.conv3d(x, kernel, stride=two), labels)
        x = pair("bottleneck", x)
        for i in range(self.depth, 0, -1):
            place = f"decoder{i}.up"
            kernel = self.tensors[f"unet.{place}.conv.weight"]
            x = F.conv_transpose3d(x, kernel, stride=two)
            x = self.norm_relu(place, x, labels)
            x = pair(f"decoder{i}", torch.cat([skips[i - 1], x], 1))
        return self.mode_conv("output", x, labels)


@pytest.fixture
def explicit():
    return ExplicitRepMode


class Extending:
    """Train one task of a network, and compare what its tasks are to the bit."""

    @staticmethod
    def adamw(parameters):
        return torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.5)

    @staticmethod
    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.5)

    def train(self, net, label, optimizer=None, steps=2):
        """Train all that can be trained, with many calls of ``train()``."""
        chosen = (optimizer or self.adamw)(net.parameters())
        generator = torch.Generator().manual_seed(2)
        for _ in range(steps):
            net.train()
            for module in net.modules():
                module.train()
            shape = (2, 1, 4, 4, 4)
            signal = torch.randn(shape, generator=generator, dtype=torch.float64)
            chosen.zero_grad()
            (net(signal, label) - 3 * signal).square().mean().backward()
            chosen.step()
        net.eval()

    @staticmethod
    @torch.no_grad()
    def snapshot(net, tasks):
        """Return fingerprint, prediction and tensors of each task."""
        generator = torch.Generator().manual_seed(3)
        shape = (1, 1, 4, 8, 4)
        signal = torch.randn(shape, generator=generator, dtype=torch.float64)
        return {
            task: (
                fingerprint(net, task),
                net(signal, net.task_label(task)),
                net.task_state(task),
            )
            for task in tasks
        }

    def assert_unchanged(self, net, before):
        after = self.snapshot(net, before)
        for task in before:
            assert after[task][0] == before[task][0], task
            assert torch.equal(after[task][1], before[task][1]), task
            assert after[task][2].keys() == before[task][2].keys()
            for name, tensor in before[task][2].items():
                assert torch.equal(tensor, after[task][2][name]), (task, name)


@pytest.fixture(scope="session")
def extending():
    return Extending()
