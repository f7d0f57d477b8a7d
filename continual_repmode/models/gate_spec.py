"""What the gate of a MoDE block can be made of; the default is that of the paper.

The other choices are those of Table 2 ("Gating"): fixed random task vectors instead of
one-hot ones, a second fully connected layer, and a sigmoid instead of the softmax.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.errors import UserError

TaskEmbedding = Literal["one_hot", "gaussian"]
Activation = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, eq=False)
class GateSpec:
    """How the gates of tasks are made."""

    #: (S, S). One vector of S numbers for each of the S base tasks; None: one-hot
    #: vectors.
    embedding: Tensor | None = None
    #: Units between two fully connected layers; None: one layer.
    hidden: int | None = None
    activation: Activation = "softmax"


PAPER_GATE = GateSpec()
"""One fully connected layer on one-hot vectors, then a softmax (Sec. 3.3)."""


def make_gate_spec(
    num_tasks: int,
    task_embedding: TaskEmbedding,
    gate_hidden: int | None,
    gate_activation: Activation,
) -> GateSpec:
    """Check the options of task gates and draw what is drawn once for all blocks.

    ``task_embedding``: ``"gaussian"``: vectors with entries from N(0, 1). That they
        have S entries and are drawn once is our adaptation; the paper does not say.
    Raises UserError if an option is not as above.
    """
    for name, value, kinds in (
        ("task_embedding", task_embedding, TaskEmbedding),
        ("gate_activation", gate_activation, Activation),
    ):
        if value not in get_args(kinds):
            raise UserError(f"{name} {value!r}: use {' or '.join(get_args(kinds))}")
    if gate_hidden is not None and gate_hidden < 1:
        raise UserError(f"gate_hidden {gate_hidden}: use a positive number, or None")
    gaussian = task_embedding == "gaussian"
    embedding = torch.randn(num_tasks, num_tasks) if gaussian else None
    return GateSpec(embedding, gate_hidden, gate_activation)


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Turn logits into gating weights; both have the shape (..., E, O).

    ``"softmax"`` (Eq. 2) lets the E experts compete for each output channel;
    ``"sigmoid"`` opens each gate by itself.
    """
    match activation:
        case "softmax":
            return logits.softmax(dim=-2)
        case "sigmoid":
            return logits.sigmoid()


def mean_logits(weights: Tensor, activation: Activation) -> Tensor:
    """Return logits between several gates, finite even where a gate is shut.

    ``weights``: (N, E, O); gating weights of N gates.
    Returns: (E, O); the mean over N of what activates to the weights. A softmax leaves
        one number per channel free: the log-sum-exp over E is made 0.
    """
    limits = torch.finfo(weights.dtype)
    match activation:
        case "softmax":
            logs = weights.clamp_min(limits.tiny).log().mean(dim=0)
            return logs - logs.logsumexp(dim=0)
        case "sigmoid":
            return weights.logit(eps=limits.eps).mean(dim=0)


def full_precision_linear(layer: nn.Linear, vectors: Tensor) -> Tensor:
    """Apply a layer to vectors (..., N) in its own precision, also under autocast."""
    device = vectors.device.type
    autocasts = torch.amp.is_autocast_available(device)  # not on the meta device
    with torch.autocast(device, enabled=False) if autocasts else nullcontext():
        return F.linear(vectors.to(layer.weight.dtype), layer.weight, layer.bias)
