"""Settings of the training."""

from dataclasses import dataclass

from continual_repmode.checks import require, require_choice
from continual_repmode.runtime import PRECISIONS
from continual_repmode.training.losses import LOSSES
from continual_repmode.training.sampling import SAMPLERS


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """The training of every experience."""

    #: Epochs of the first experience; one random patch of every image is an epoch.
    epochs: int = 1000
    #: Epochs of every later experience; null: as many as the first.
    extension_epochs: int | None = None
    #: Patches in a batch.
    batch_size: int = 8
    #: Learning rate of Adam.
    learning_rate: float = 1e-4
    #: constant (paper), or one_cycle for short training.
    schedule: str = "constant"
    #: mse (paper), mae_ssim, or spotlight; see docs/training.md.
    loss: str = "mse"
    #: random (paper), or balanced: the batches take the tasks in turn.
    mixing: str = "random"
    #: Decay of a moving average of the weights that is validated and kept in their
    #: place, such as 0.99; 0: none.
    ema: float = 0.0
    #: Epochs between validations; null: they take at most a quarter of training time.
    validate_every: int | None = 20
    #: End an experience when no validation of so many epochs was better; null: never.
    patience: int | None = None
    #: Epochs between savings of the training state.
    save_every: int = 1
    #: Overlap of prediction windows, 0 to below 1.
    overlap: float = 0.5
    #: float32; on a GPU also bfloat16, or float16 with a loss that is scaled.
    precision: str = "float32"
    #: Processes that load training patches; the seed repeats a run with equally many.
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("epochs", "batch_size", "save_every"):
            value = getattr(self, name)
            require(value >= 1, f"train.{name}", value, "at least 1")
        for name in ("extension_epochs", "validate_every", "patience"):
            value, allowed = getattr(self, name), "at least 1, or null"
            require(value is None or value >= 1, f"train.{name}", value, allowed)
        rate = self.learning_rate
        require(rate > 0, "train.learning_rate", rate, "above 0")
        require(0 <= self.overlap < 1, "train.overlap", self.overlap, "0 to below 1")
        require(0 <= self.ema < 1, "train.ema", self.ema, "0 to below 1")
        require_choice("train.loss", self.loss, tuple(LOSSES))
        require_choice("train.mixing", self.mixing, tuple(SAMPLERS))
        require_choice("train.schedule", self.schedule, ("constant", "one_cycle"))
        require_choice("train.precision", self.precision, tuple(PRECISIONS))
        workers = self.num_workers
        require(workers >= 0, "train.num_workers", workers, "at least 0")
