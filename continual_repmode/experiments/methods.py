"""The methods that tables compare: their names, kernels and recipes."""

from collections.abc import Mapping
from types import MappingProxyType

METHODS: Mapping[str, str] = MappingProxyType(
    {
        "multinet": "Multi-Net",
        "multihead_dec": "Multi-Head (Dec.)",
        "multihead_las": "Multi-Head (Las.)",
        "condnet": "CondNet",
        "tsn": "TSNs",
        "pipofan": "PIPO-FAN",
        "dodnet": "DoDNet",
        "tgnet": "TGNet",
        "repmode": "RepMode",
    }
)
"""Option of ``model`` -> name, in the order of Table 1."""

OWN_NORMALIZATION = ("model.private_bn=true",)
FAST_GATES = ("strategy.gate_rate=20",)
RECIPE = (*OWN_NORMALIZATION, *FAST_GATES)
"""What the recipe adds to the paper's settings in joint training."""

SHARED_EXPERTS = ("model.scope=all", "model.private_expert=null")
"""Experts in every block, which all base tasks share, as in the paper."""

PRIVATE_EXPERTS = ("model.scope=decoder", "model.private_expert=conv3")
"""A plain encoder for all tasks, and an expert for each task in the decoder."""

ADDITIVE = (
    "strategy.expert_mix=additive",
    "strategy.private_bn=true",
    "strategy.gate_init=closest",
    "strategy.expert_init=zero",
)
"""An expert outside the softmax; at first, a task predicts what the closest does."""

_EXPERTS = {
    3: "[conv3,conv1,avg3_conv1]",
    5: "[conv5,conv3,conv1,avg3_conv1,avg5_conv1]",
}


def kernel_settings(model: str, size: int) -> tuple[str, ...]:
    """Return the settings of a network whose largest kernel has this extent."""
    if model == "repmode":
        return (f"model.experts={_EXPERTS[size]}",)
    return (f"model.kernel_size={size}",)
