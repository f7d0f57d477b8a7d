"""Settings of the network: one class per option of ``model``.

A class has exactly the arguments of its network, so that
:func:`continual_repmode.build.build_network` can pass them on.
"""

from dataclasses import dataclass, field

from continual_repmode.config.checks import require, require_choice


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The U-Net that all networks share; the base of the options."""

    #: Channels of the first level; doubled at each further one. The paper has 32.
    width: int = 32
    #: Number of down-sampling levels. The paper has 4.
    depth: int = 4
    #: ZYX, or YX for a network that treats the planes of a stack one by one.
    axes: str = "ZYX"

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.width >= 1, "model.width", self.width, "at least 1")
        require(1 <= self.depth <= 8, "model.depth", self.depth, "1 to 8")
        require_choice("model.axes", self.axes, ("ZYX", "YX"))


@dataclass(kw_only=True, slots=True)
class RepModeModelConfig(ModelConfig):
    """Convolutions mixed from experts, per task (paper, Sec. 3 and Table 2)."""

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


@dataclass(kw_only=True, slots=True)
class KernelConfig(ModelConfig):
    """Networks of ordinary convolutions of one size; the base of their options."""

    #: Odd extent of the convolutions. 5 as RepMode has when merged.
    kernel_size: int = 5

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        size = self.kernel_size
        require(size >= 1 and size % 2 == 1, "model.kernel_size", size, "odd")


@dataclass(kw_only=True, slots=True)
class MultiNetConfig(KernelConfig):
    """One plain network per task."""

    #: Give convolutions a bias before batch normalization.
    bias: bool = False


@dataclass(kw_only=True, slots=True)
class FNetConfig(MultiNetConfig):
    """The same as the published label-free predictor has it."""

    kernel_size: int = 3
    bias: bool = True


@dataclass(kw_only=True, slots=True)
class MultiHeadConfig(KernelConfig):
    """One network with a part for each task."""

    #: What each task has of its own: decoder, or output (the last convolution).
    part: str = "decoder"
    #: Give every task batch normalization of its own in what is shared.
    private_bn: bool = False

    def __post_init__(self) -> None:
        """Check ranges."""
        KernelConfig.__post_init__(self)
        require_choice("model.part", self.part, ("decoder", "output"))


@dataclass(kw_only=True, slots=True)
class MultiHeadOutputConfig(MultiHeadConfig):
    """One network with an output convolution for each task."""

    part: str = "output"


@dataclass(kw_only=True, slots=True)
class HeadConfig(KernelConfig):
    """Networks with a choice of heads; the base of their options."""

    #: shared by all tasks, as originally published, or per_task.
    head: str = "shared"

    def __post_init__(self) -> None:
        """Check ranges."""
        KernelConfig.__post_init__(self)
        require_choice("model.head", self.head, ("shared", "per_task"))


@dataclass(kw_only=True, slots=True)
class CondNetConfig(HeadConfig):
    """A constant channel in the decoder tells the task."""

    #: Which convolutions of a decoder level see it: all, or the first.
    where: str = "all"
    #: Factor of the channel: -1 for the first base task to 1 for the last, and on in
    #: equal steps for tasks that arrive later.
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        HeadConfig.__post_init__(self)
        require_choice("model.where", self.where, ("all", "first"))
        require(self.scale > 0, "model.scale", self.scale, "above 0")


@dataclass(kw_only=True, slots=True)
class TSNConfig(HeadConfig):
    """A task code scales and shifts normalized features in the decoder."""

    #: Task codes: orthogonal, or gaussian (random, fixed).
    codes: str = "orthogonal"
    #: Numbers in a code per task; a code has entries_per_task * max_tasks.
    entries_per_task: int = 20
    #: Tasks that there are codes for.
    max_tasks: int = 12
    #: Start of scale and shift: published (random), or identity.
    film_init: str = "published"

    def __post_init__(self) -> None:
        """Check ranges."""
        HeadConfig.__post_init__(self)
        require_choice("model.codes", self.codes, ("orthogonal", "gaussian"))
        require_choice("model.film_init", self.film_init, ("published", "identity"))
        for name in ("entries_per_task", "max_tasks"):
            value = getattr(self, name)
            require(value >= 1, f"model.{name}", value, "at least 1")


@dataclass(kw_only=True, slots=True)
class PipoFanConfig(KernelConfig):
    """Pyramids of inputs and outputs, fused adaptively."""

    #: Weight of the loss of the single scales beside that of their fusion; 0: none.
    deep_supervision: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        KernelConfig.__post_init__(self)
        weight = self.deep_supervision
        require(weight >= 0, "model.deep_supervision", weight, "at least 0")


@dataclass(kw_only=True, slots=True)
class DoDNetConfig(KernelConfig):
    """The image and the task together generate the head."""


@dataclass(kw_only=True, slots=True)
class TGNetConfig(KernelConfig):
    """The same, with task-guided attention in the encoder and the skips."""
