"""The units of a RepMode network: MoDE blocks in scope, plain convolutions elsewhere.

The options are those of the paper's ablations (Table 2).
"""

from collections.abc import Sequence
from typing import Literal, get_args

from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitFactory, UnitSpec, plain_unit
from continual_repmode.models.experts import largest_extent
from continual_repmode.models.feature_gating import FeatureGatedBlock, FeatureGatedConv
from continual_repmode.models.gate_spec import (
    Activation,
    TaskEmbedding,
    make_gate_spec,
)
from continual_repmode.models.mode_conv import MoDEBlock, MoDEConv
from continual_repmode.models.task_norm import TaskNorm

Scope = Literal["all", "encoder", "decoder"]
GateInput = Literal["task", "features"]

_SCOPES = {
    "all": ("encoder", "bottleneck", "decoder", "output"),
    "encoder": ("encoder", "bottleneck"),
    "decoder": ("decoder", "output"),
}


def mode_units(
    tasks: Sequence[str],
    experts: Sequence[str],
    *,
    scope: Scope = "all",
    task_embedding: TaskEmbedding = "one_hot",
    gate_hidden: int | None = None,
    gate_activation: Activation = "softmax",
    gate_input: GateInput = "task",
    private_bn: bool = False,
    private_expert: str | None = None,
) -> UnitFactory:
    """Return what builds the units of one RepMode network.

    For the options see :class:`~continual_repmode.models.repmode.RepModeUNet`.
    Raises UserError if an option is unknown, or two exclude each other.
    """
    if scope not in _SCOPES:
        raise UserError(f"scope {scope!r}: use {', '.join(_SCOPES)}")
    if gate_input not in get_args(GateInput):
        raise UserError(f"gate_input {gate_input!r}: use 'task' or 'features'")
    from_features = gate_input == "features"
    if from_features and (task_embedding, gate_hidden) != ("one_hot", None):
        raise UserError(
            f"gate_input 'features' with task_embedding {task_embedding!r} and "
            f"gate_hidden {gate_hidden}: these belong to gate_input 'task'"
        )
    own = {"private_bn": private_bn, "private_expert": private_expert}
    for name, value in own.items():
        if from_features and value:
            raise UserError(
                f"{name} with gate_input 'features': these gates know no tasks; leave "
                f"{name} out, or use gate_input 'task'"
            )
    gate = make_gate_spec(len(tasks), task_embedding, gate_hidden, gate_activation)

    def unit(spec: UnitSpec) -> nn.Module:
        in_scope = spec.name.startswith(_SCOPES[scope])
        knows_task = in_scope or scope == "encoder"
        own_norms = tasks if private_bn and knows_task else ()
        if not in_scope or spec.role not in ("conv", "output"):
            return plain_unit(spec, largest_extent(experts), own_norms=own_norms)
        last = spec.role == "output"
        norm = None if last else TaskNorm(spec.out_channels, own_norms)
        channels = (spec.in_channels, spec.out_channels)
        if from_features:
            conv = FeatureGatedConv(
                *channels, experts, spec.axes, gate.activation, spec.level
            )
            return FeatureGatedBlock(conv, norm)
        mixed = MoDEConv(
            *channels, tasks, experts, spec.axes, gate, spec.level, private_expert
        )
        return MoDEBlock(mixed, norm)

    return unit
