"""Settings of the RepMode network."""

from dataclasses import dataclass
from typing import ClassVar

from continual_repmode.checks import Rule, at_least, one_of, require, setting
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_network import TaskNetwork


@dataclass(kw_only=True, slots=True)
class RepModeModelConfig(ModelConfig):
    """Convolutions mixed from experts, per task (paper, Sec. 3 and Table 2)."""

    network: ClassVar[type[TaskNetwork]] = RepModeUNet

    #: Experts of each MoDE block: conv<K> and avg<K>_conv1 with odd K; may repeat.
    experts: list[str] = setting(
        lambda: ["conv5", "conv3", "conv1", "avg3_conv1", "avg5_conv1"],
        Rule(bool, "not empty"),
    )
    #: Where convolutions are MoDE blocks: all, encoder or decoder.
    scope: str = setting("all", one_of("all", "encoder", "decoder"))
    #: Task vectors that make the gates: one_hot, or gaussian (random, fixed).
    task_embedding: str = setting("one_hot", one_of("one_hot", "gaussian"))
    #: Units between two layers that make the gates; null: one layer.
    gate_hidden: int | None = setting(None, at_least(1))
    #: softmax, or sigmoid: experts do not compete.
    gate_activation: str = setting("softmax", one_of("softmax", "sigmoid"))
    #: task, or features: gates follow from the image and no task is known.
    gate_input: str = setting("task", one_of("task", "features"))
    #: Give every task batch normalization of its own from the start, wherever features
    #: depend on the task (not the paper).
    private_bn: bool = False
    #: Give every base task an expert of its own in each block, such as conv3_rank4,
    #: added to what the shared ones make (not the paper).
    private_expert: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        if self.gate_input == "features":
            for name, value, told in (
                ("task_embedding", "one_hot", "one_hot"),
                ("gate_hidden", None, "null"),
                ("private_bn", False, "false"),
                ("private_expert", None, "null"),
            ):
                given, rule = getattr(self, name), "with model.gate_input=features"
                require(given == value, f"model.{name}", given, f"{told} {rule}")
