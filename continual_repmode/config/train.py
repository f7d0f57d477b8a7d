"""Settings of the training."""

from dataclasses import dataclass

from continual_repmode.checks import (
    ABOVE_0,
    SHARE,
    at_least,
    check_settings,
    one_of,
    setting,
)
from continual_repmode.runtime import PRECISIONS
from continual_repmode.training.losses import LOSSES
from continual_repmode.training.sampling import SAMPLERS


@dataclass(kw_only=True, slots=True)
class TrainConfig:
    """The training of every experience."""

    #: Epochs of the first experience; one random patch of every image is an epoch.
    epochs: int = setting(1000, at_least(1))
    #: Epochs of every later experience; null: as many as the first.
    extension_epochs: int | None = setting(None, at_least(1))
    #: Patches in a batch.
    batch_size: int = setting(8, at_least(1))
    #: Learning rate of Adam.
    learning_rate: float = setting(1e-4, ABOVE_0)
    #: constant (paper), or one_cycle for short training.
    schedule: str = setting("constant", one_of("constant", "one_cycle"))
    #: mse (paper), mae_ssim, or spotlight; see docs/training.md.
    loss: str = setting("mse", one_of(*LOSSES))
    #: random (paper), or balanced: the batches take the tasks in turn.
    mixing: str = setting("random", one_of(*SAMPLERS))
    #: Decay of a moving average of the weights that is validated and kept in their
    #: place, such as 0.99; 0: none.
    ema: float = setting(0.0, SHARE)
    #: Epochs between validations; null: they take at most a quarter of training time.
    validate_every: int | None = setting(20, at_least(1))
    #: End an experience when no validation of so many epochs was better; null: never.
    patience: int | None = setting(None, at_least(1))
    #: Epochs between savings of the training state.
    save_every: int = setting(1, at_least(1))
    #: Overlap of prediction windows, 0 to below 1.
    overlap: float = setting(0.5, SHARE)
    #: float32; on a GPU also bfloat16, or float16 with a loss that is scaled.
    precision: str = setting("float32", one_of(*PRECISIONS))
    #: Compile the network for training (torch.compile): for GPUs. Takes minutes first.
    compile: bool = False
    #: Processes that load training patches; the seed repeats a run with equally many.
    num_workers: int = setting(0, at_least(0))

    def __post_init__(self) -> None:
        """Check ranges."""
        check_settings(self, "train")
