"""Settings of the RepMode network."""

from dataclasses import dataclass, field
from typing import ClassVar

from continual_repmode.checks import require, require_choice
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_network import TaskNetwork


@dataclass(kw_only=True, slots=True)
class RepModeModelConfig(ModelConfig):
    """Convolutions mixed from experts, per task (paper, Sec. 3 and Table 2)."""

    network: ClassVar[type[TaskNetwork]] = RepModeUNet

    #: Experts of each MoDE block: conv<K> and avg<K>_conv1 with odd K; may repeat.
    experts: list[str] = field(
        default_factory=lambda: ["conv5", "conv3", "conv1", "avg3_conv1", "avg5_conv1"]
    )
    #: Where convolutions are MoDE blocks: all, encoder or decoder.
    scope: str = "all"
    #: Task vectors that make the gates: one_hot, or gaussian (random, fixed).
    task_embedding: str = "one_hot"
    #: Units between two layers that make the gates; null: one layer.
    gate_hidden: int | None = None
    #: softmax, or sigmoid: experts do not compete.
    gate_activation: str = "softmax"
    #: task, or features: gates follow from the image and no task is known.
    gate_input: str = "task"
    #: Give every task batch normalization of its own from the start (not the paper).
    private_bn: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        require(bool(self.experts), "model.experts", self.experts, "not empty")
        require_choice("model.scope", self.scope, ("all", "encoder", "decoder"))
        vectors, hidden = self.task_embedding, self.gate_hidden
        require_choice("model.task_embedding", vectors, ("one_hot", "gaussian"))
        require_choice(
            "model.gate_activation", self.gate_activation, ("softmax", "sigmoid")
        )
        require_choice("model.gate_input", self.gate_input, ("task", "features"))
        require(
            hidden is None or hidden >= 1,
            "model.gate_hidden",
            hidden,
            "at least 1, or null",
        )
        if self.gate_input == "features":
            name, rule = (
                "model.task_embedding",
                "one_hot with model.gate_input=features",
            )
            require(vectors == "one_hot", name, vectors, rule)
            name, rule = "model.gate_hidden", "null with model.gate_input=features"
            require(hidden is None, name, hidden, rule)
            name, rule = "model.private_bn", "false with model.gate_input=features"
            require(not self.private_bn, name, self.private_bn, rule)
