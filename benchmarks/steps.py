"""Whole training steps: forward pass, MSE, backward pass, fused Adam."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.models.spatial import Size3

BATCH_SIZE = 8

Forward = Callable[[Tensor, Tensor], Tensor]
"""Maps signals and task labels to predictions."""


@dataclass(frozen=True)
class Case:
    """The size of a network and of the patches it is trained on.

    Attributes
    ----------
    width : int
    patch : (int, int, int)
        Sides (z, y, x) in voxels.
    depth : int
    """

    width: int
    patch: Size3
    depth: int = 4

    def __str__(self) -> str:
        return f"width {self.width}, {'x'.join(map(str, self.patch))}"


class TrainingStep:
    """One step on a batch of 8 patches of noise, to be taken any number of times.

    Parameters
    ----------
    forward : callable
    parameters : iterable of nn.Parameter
        What is trained.
    patch : (int, int, int)
    device : torch.device
    autocast : torch.dtype or None
        Of the forward pass; float16 scales the loss. None is float32 throughout.
    """

    def __init__(
        self,
        forward: Forward,
        parameters: Iterable[nn.Parameter],
        patch: Size3,
        device: torch.device,
        autocast: torch.dtype | None,
    ) -> None:
        self.forward = forward
        self.optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True)
        self.device = device
        self.autocast = autocast
        scales = autocast == torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=scales)
        generator = torch.Generator().manual_seed(0)
        self.signal, self.target = (
            torch.randn(BATCH_SIZE, 1, *patch, generator=generator).to(device)
            for _ in range(2)
        )

    def __call__(self, task_labels: Tensor) -> None:
        """Take a step, with one task label per patch."""
        with torch.autocast(
            self.device.type, self.autocast, enabled=self.autocast is not None
        ):
            prediction = self.forward(self.signal, task_labels)
        loss = F.mse_loss(prediction.float(), self.target)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()

    def fill_optimizer_state(self) -> None:
        """Let the optimizer allocate what it keeps, without any step of ours."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def optimizer_bytes(self) -> int:
        """Return the size of the moments that Adam keeps."""
        return sum(
            value.numel() * value.element_size()
            for state in self.optimizer.state.values()
            for value in state.values()
            if value.ndim
        )


def autocast_of(device: torch.device) -> torch.dtype | None:
    """Return bfloat16 on CUDA; a CPU computes in float32."""
    return torch.bfloat16 if device.type == "cuda" else None
