"""A moving average of a network that is being trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of trainable parameters and running statistics.

    After step ``t``, counted from 0, ``average = d * average + (1 - d) * network`` with
    ``d = min(decay, (1 + t) / (10 + t))``, so that the random start of a short training
    is soon forgotten. Averaged are trainable parameters and floating-point buffers
    (Tarvainen and Valpola, NeurIPS 2017, who average parameters only).

    ``net``: the average starts from it as it is.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self._decay = decay
        self._num_steps = 0
        self._values = {n: v.detach().clone() for n, v in _moving(net).items()}

    def update(self, net: nn.Module) -> None:
        """Take the network after a step into the average."""
        steps = self._num_steps
        share = 1 - min(self._decay, (1 + steps) / (10 + steps))
        moving = _moving(net)
        now = [moving[name].detach() for name in self._values]
        torch._foreach_lerp_(list(self._values.values()), now, share)
        self._num_steps += 1

    @contextmanager
    def in_place_of(self, net: nn.Module) -> Iterator[None]:
        """Let the network have the average; afterwards it is as before, to the bit.

        What did not move during training, such as all that belongs to frozen tasks,
        keeps its bits in between too.
        """
        moving = _moving(net)
        live = {name: moving[name].detach().clone() for name in self._values}
        with torch.no_grad():
            for name, average in self._values.items():
                same = average == live[name]  # but for the sign of a zero
                moving[name].copy_(torch.where(same, live[name], average))
            yield
            for name, value in live.items():
                moving[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of steps in it."""
        return {"num_steps": self._num_steps, "values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self._num_steps, self._values = state["num_steps"], dict(state["values"])


def _moving(net: nn.Module) -> dict[str, Tensor]:
    """Return what training moves: trainable parameters and floating-point buffers."""
    parameters = {n: p for n, p in net.named_parameters() if p.requires_grad}
    buffers = {n: b for n, b in net.named_buffers() if b.is_floating_point()}
    return parameters | buffers
