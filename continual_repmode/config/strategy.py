"""Settings of what happens when tasks arrive: one class per option of ``strategy``."""

from dataclasses import dataclass

from continual_repmode.config.checks import require, require_choice


@dataclass(kw_only=True, slots=True)
class StrategyConfig:
    """What happens when a new task arrives; the base of the options."""


@dataclass(kw_only=True, slots=True)
class ExpertsConfig(StrategyConfig):
    """What a new task gets in a RepMode network; the base of the options that do so."""

    #: With model=repmode: the new expert of each block (conv3 in the paper;
    #: conv3_rank2 is far smaller), or null for a gate only.
    expert: str | None = "conv3"
    #: With model=repmode: give a new task batch-normalization layers of its own, so
    #: that its images do not move the running statistics that old tasks rely on.
    private_bn: bool = False
    #: With model=repmode: softmax, the new expert competes with the others (paper), or
    #: additive, it is added to what the others make.
    expert_mix: str = "softmax"
    #: With model=repmode: factor of the learning rate for gates.
    gate_rate: float = 1.0
    #: Factor of the learning rate for the outer factors of low-rank experts.
    outer_rate: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        mixes = ("softmax", "additive")
        require_choice("strategy.expert_mix", self.expert_mix, mixes)
        for name in ("gate_rate", "outer_rate"):
            value = getattr(self, name)
            require(value > 0, f"strategy.{name}", value, "above 0")


@dataclass(kw_only=True, slots=True)
class RepModeConfig(ExpertsConfig):
    """Freeze what is known; add an expert and a gate (paper, Sec. 4.4)."""

    #: Let a new task use the experts that earlier extensions added.
    use_extensions: bool = False
    #: How its gate and normalization start: mean, uniform, closest, or the name of an
    #: old task.
    gate_init: str = "mean"
    #: How its expert starts: random, or zero (adding nothing).
    expert_init: str = "random"


@dataclass(kw_only=True, slots=True)
class AdapterConfig(StrategyConfig):
    """Freeze what is known; adapt it to a new task by small parts of its own."""

    #: What each convolution gains: low_rank<R> (R channels), residual, grouped, or
    #: none: normalization and the last convolution only.
    adapter: str = "low_rank4"
    #: The known task that a new one starts from: closest, or given by name; with
    #: model=multihead_las also fresh, then its last convolution starts at random.
    init: str = "closest"
    #: Factor of the learning rate for the outer factors of low-rank adapters.
    outer_rate: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        rate = self.outer_rate
        require(rate > 0, "strategy.outer_rate", rate, "above 0")


@dataclass(kw_only=True, slots=True)
class IndividualConfig(StrategyConfig):
    """One network per task; those of old tasks stay as they are."""


@dataclass(kw_only=True, slots=True)
class JointConfig(StrategyConfig):
    """Learn all tasks of the scenario at once: what a stream is measured against."""


@dataclass(kw_only=True, slots=True)
class NaiveConfig(ExpertsConfig):
    """Fine-tune everything on each new task; the base of all fine-tuning."""

    #: How a part of its own starts, where the network gives a task one: fresh, or as a
    #: copy of that of an old task, given by name or closest.
    init: str = "fresh"


@dataclass(kw_only=True, slots=True)
class CumulativeConfig(NaiveConfig):
    """Fine-tune on the data of all experiences so far: another upper bound."""


@dataclass(kw_only=True, slots=True)
class MemoryConfig(NaiveConfig):
    """Fine-tuning with stored patches; the base of its options."""

    #: Patches in memory, of all tasks together.
    patches: int = 120
    #: Patches drawn from it for each step.
    patches_per_step: int = 8

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _at_least_one(self, "patches", "patches_per_step")


@dataclass(kw_only=True, slots=True)
class ReplayConfig(MemoryConfig):
    """Learn stored patches together with the new ones."""


@dataclass(kw_only=True, slots=True)
class DERConfig(MemoryConfig):
    """Learn stored patches, and what the network predicted for them."""

    #: Weight of the distance from the stored predictions.
    alpha: float = 0.5
    #: Weight of the distance from the targets; 0: predictions only.
    beta: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        MemoryConfig.__post_init__(self)
        _not_negative(self, "alpha", "beta")


@dataclass(kw_only=True, slots=True)
class AGEMConfig(MemoryConfig):
    """Take no step that raises the mean loss over stored patches."""


@dataclass(kw_only=True, slots=True)
class GEMConfig(NaiveConfig):
    """Take no step that raises the loss over the stored patches of an experience."""

    #: At most so many patches in memory of each experience (one of an image, not
    #: balanced by task); every step passes over all of them.
    patches: int = 16
    #: Offset of the projection in favor of the old experiences.
    margin: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _at_least_one(self, "patches")
        _not_negative(self, "margin")


@dataclass(kw_only=True, slots=True)
class LwFConfig(NaiveConfig):
    """Stay close to what the old network predicts for the new signals."""

    #: Weight of the distance.
    strength: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _not_negative(self, "strength")


@dataclass(kw_only=True, slots=True)
class EWCConfig(NaiveConfig):
    """Hold weights that the loss of old tasks is sensitive to."""

    #: Weight of the penalty.
    strength: float = 1000.0

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _not_negative(self, "strength")


@dataclass(kw_only=True, slots=True)
class SIConfig(NaiveConfig):
    """Hold weights that lowered the loss of old tasks on their way."""

    #: Weight of the penalty.
    strength: float = 10.0
    #: Keeps the importance of weights that hardly moved finite.
    damping: float = 0.001

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _not_negative(self, "strength")
        require(self.damping > 0, "strategy.damping", self.damping, "above 0")


@dataclass(kw_only=True, slots=True)
class MASConfig(NaiveConfig):
    """Hold weights that the predictions of old tasks are sensitive to."""

    #: Weight of the penalty.
    strength: float = 100.0

    def __post_init__(self) -> None:
        """Check ranges."""
        NaiveConfig.__post_init__(self)
        _not_negative(self, "strength")


def _at_least_one(config: StrategyConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value >= 1, f"strategy.{name}", value, "at least 1")


def _not_negative(config: StrategyConfig, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value >= 0, f"strategy.{name}", value, "at least 0")
