"""The settings of a run: typed, checked, and registered with Hydra.

A group is a folder of ``configs/``; an option is a file in it. Every class here refuses
bad values on construction with one line that names the setting.
"""

from dataclasses import dataclass, field
from typing import Any, get_args

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from continual_repmode.data.preparation import Order, Storage
from continual_repmode.data.resampling import ResizeMethod
from continual_repmode.errors import UserError
from continual_repmode.inference.memory import parse_bytes
from continual_repmode.scenario import Scenario


@dataclass(kw_only=True, slots=True)
class ModelConfig:
    """The network (methods: paper, Sec. 3)."""

    #: Channels of the first level; doubled at each further one. The paper has 32.
    width: int = 32
    #: Number of down-sampling levels. The paper has 4.
    depth: int = 4
    #: Experts of each MoDE block: conv<K> and avg<K>_conv1 with odd K.
    experts: list[str] = field(
        default_factory=lambda: ["conv5", "conv3", "conv1", "avg3_conv1", "avg5_conv1"]
    )
    #: ZYX, or YX for a network that treats the planes of a stack one by one.
    axes: str = "ZYX"

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(self.width >= 1, "model.width", self.width, "at least 1")
        _require(1 <= self.depth <= 8, "model.depth", self.depth, "1 to 8")
        _require(bool(self.experts), "model.experts", self.experts, "not empty")
        _require(self.axes in {"ZYX", "YX"}, "model.axes", self.axes, "ZYX or YX")


@dataclass(kw_only=True, slots=True)
class StrategyConfig:
    """What happens when a new task arrives; the base of the options."""

    #: The new expert of each block (conv3 in the paper), or null for a gate only.
    expert: str | None = "conv3"


@dataclass(kw_only=True, slots=True)
class RepModeConfig(StrategyConfig):
    """Freeze what is known; add an expert and a gate (paper, Sec. 4.4)."""

    #: Give a new task batch-normalization layers of its own.
    private_bn: bool = False
    #: Let a new task use the experts that earlier extensions added.
    use_extensions: bool = False
    #: How its gate starts: mean, uniform, closest, or the name of an old task.
    gate_init: str = "mean"


@dataclass(kw_only=True, slots=True)
class NaiveConfig(StrategyConfig):
    """Fine-tune everything on each new task."""


@dataclass(kw_only=True, slots=True)
class DataConfig:
    """Patches and windows; the base of the data options."""

    #: Training patch [z, y, x] in voxels.
    patch_size: list[int] = field(default_factory=lambda: [32, 128, 128])
    #: Axes along which training patches are flipped at random; the paper: ZYX. A flip
    #: along Z turns the contrast of transmitted light around, which is harder to learn.
    flip_axes: str = "ZYX"
    #: Pad volumes smaller than the patch instead of refusing them.
    pad_small: bool = False
    #: Prediction window [z, y, x] in voxels; null: the size of the patch.
    window: list[int] | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        _require_sides("data.patch_size", self.patch_size)
        if self.window is not None:
            _require_sides("data.window", self.window)

    def window_size(self) -> tuple[int, int, int]:
        """Return the prediction window (Z, Y, X)."""
        z, y, x = self.window or self.patch_size
        return z, y, x


@dataclass(kw_only=True, slots=True)
class SyntheticConfig(DataConfig):
    """Generated cell monolayers."""

    #: Training, validation and test volumes of each task.
    num_train: int = 54
    num_valid: int = 6
    num_test: int = 20
    #: Size of a volume [z, y, x] in voxels of 0.29 um.
    shape: list[int] = field(default_factory=lambda: [32, 128, 128])
    #: Seed of the cells, apart from that of the run.
    seed: int = 0
    #: Where generated volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        DataConfig.__post_init__(self)
        for name in ("num_train", "num_valid", "num_test"):
            value = getattr(self, name)
            _require(value >= 1, f"data.{name}", value, "at least 1")
        _require_sides("data.shape", self.shape)
        _require(self.seed >= 0, "data.seed", self.seed, "at least 0")


_MANIFEST_CHOICES = {
    "resize": get_args(ResizeMethod),
    "order": get_args(Order),
    "storage": get_args(Storage),
}


@dataclass(kw_only=True, slots=True)
class ManifestConfig(DataConfig):
    """Volumes listed in a CSV file."""

    #: The CSV file, or a folder of them; see docs/data.md for the columns.
    manifest: str = MISSING
    #: What relative paths in it are relative to; null: the folder of the CSV file.
    root: str | None = None
    #: Voxel size [z, y, x] of the model grid in um.
    voxel_size_um: list[float] = field(default_factory=lambda: [0.29, 0.29, 0.29])
    #: Voxel size [z, y, x] in um of files that do not tell theirs; null: refuse them.
    source_voxel_size_um: list[float] | None = None
    #: Seed of the split into training, validation and test images.
    seed: int = 0
    #: paper: cubic splines as in the published code; fast: average and linear.
    resize: str = "paper"
    #: zscore_first as in the paper, or resize_first.
    order: str = "zscore_first"
    #: Type of prepared volumes on disk: float16 or float32.
    storage: str = "float16"
    #: Where prepared volumes are kept; null: the user's cache folder.
    cache_dir: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        DataConfig.__post_init__(self)
        _require(self.seed >= 0, "data.seed", self.seed, "at least 0")
        _require_sides("data.voxel_size_um", self.voxel_size_um)
        for name, choices in _MANIFEST_CHOICES.items():
            _require_choice(f"data.{name}", getattr(self, name), choices)
        if self.source_voxel_size_um is not None:
            _require_sides("data.source_voxel_size_um", self.source_voxel_size_um)


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
    #: Epochs between validations.
    validate_every: int = 20
    #: Epochs between savings of the training state.
    save_every: int = 1
    #: Overlap of prediction windows, 0 to below 1.
    overlap: float = 0.5
    #: Memory that predicting a volume may take, such as 2GB; null: as needed.
    memory: str | None = None
    #: float32, or bfloat16 on a GPU.
    precision: str = "float32"
    #: Processes that load training patches.
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("epochs", "batch_size", "validate_every", "save_every"):
            value = getattr(self, name)
            _require(value >= 1, f"train.{name}", value, "at least 1")
        later, rate = self.extension_epochs, self.learning_rate
        _require(
            later is None or later >= 1, "train.extension_epochs", later, "at least 1"
        )
        _require(rate > 0, "train.learning_rate", rate, "above 0")
        _require(0 <= self.overlap < 1, "train.overlap", self.overlap, "0 to below 1")
        if self.memory is not None:
            try:
                parse_bytes(self.memory)
            except UserError as error:
                raise UserError(f"train.{error}") from None
        _require_choice("train.schedule", self.schedule, ("constant", "one_cycle"))
        _require_choice("train.precision", self.precision, ("float32", "bfloat16"))
        workers = self.num_workers
        _require(workers >= 0, "train.num_workers", workers, "at least 0")


@dataclass(kw_only=True, slots=True)
class ScenarioConfig:
    """The fields of a scenario file, as Hydra checks them."""

    name: str = MISSING
    description: str = ""
    experiences: list[list[str]] = MISSING
    new_task: str | None = None


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """Everything a run depends on."""

    scenario: ScenarioConfig = MISSING
    data: Any = MISSING
    model: ModelConfig = MISSING
    strategy: Any = MISSING
    train: TrainConfig = MISSING
    #: Seed of the network, the batches and the patches.
    seed: int = 0
    #: auto, cpu or cuda.
    device: str = "auto"
    #: Folder of a finished run to compute forward transfer against, or null.
    reference: str | None = None
    #: Folder of an interrupted run to go on with; given alone.
    resume: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(self.seed >= 0, "seed", self.seed, "at least 0")

    def stream(self) -> Scenario:
        """Return the checked scenario."""
        chosen = self.scenario
        return Scenario(
            name=chosen.name,
            description=chosen.description,
            experiences=chosen.experiences,
            new_task=chosen.new_task,
        )


_OPTIONS: dict[str, dict[str, type]] = {
    "data": {
        "synthetic": SyntheticConfig,
        "manifest": ManifestConfig,
    },
    "strategy": {"repmode": RepModeConfig, "naive": NaiveConfig},
}


def setting_classes() -> list[tuple[str, type]]:
    """Return each settings class with the name of its group."""
    chosen = [(g, schema) for g, found in _OPTIONS.items() for schema in found.values()]
    return [*chosen, ("model", ModelConfig), ("train", TrainConfig)]


def register_configs() -> None:
    """Tell Hydra the types of all settings."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    for group, options in _OPTIONS.items():
        for name, schema in options.items():
            store.store(group=group, name=f"{name}_schema", node=schema)


def register_scenario(name: str, scenario: Scenario) -> None:
    """Make ``scenario=name`` choose this scenario."""
    store = ConfigStore.instance()
    node = ScenarioConfig(
        name=scenario.name,
        description=scenario.description,
        experiences=scenario.experiences,
        new_task=scenario.new_task,
    )
    store.store(group="scenario", name=name, node=node)


def to_run_config(composed: DictConfig) -> RunConfig:
    """Convert what Hydra composed to plain objects, checking every value.

    Raises
    ------
    UserError
        If a required value is missing or one is out of range.
    """
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error
    except AttributeError as error:  # added with Hydra's +name=value
        raise UserError(f"unknown setting: {error}") from error
    assert isinstance(config, RunConfig)
    config.stream()
    return config


def one_line(error: OmegaConfBaseException) -> str:
    """Return an OmegaConf error as one line that names the setting."""
    first = str(error).strip().splitlines()[0]
    key = getattr(error, "full_key", None)
    if "missing mandatory value" in first:
        return f"{key}: a value is needed; give it as {key}=VALUE"
    if key and key not in first:
        return f"{key}: {first}"
    return first


def load_run_config(text: str) -> RunConfig:
    """Read the ``config.yaml`` of a run folder.

    Parameters
    ----------
    text : str
        As written by :func:`dump_run_config`.

    Raises
    ------
    UserError
        If it is damaged or was written by another version.
    """
    try:
        loaded = yaml.safe_load(text)
        schema = OmegaConf.structured(RunConfig)
        for group, options in _OPTIONS.items():
            schema[group] = OmegaConf.structured(options[loaded[group].pop("option")])
        merged = OmegaConf.merge(schema, loaded)
    except (OmegaConfBaseException, YAMLError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the config.yaml of that run folder cannot be read by this version: "
            f"{type(error).__name__}: {reason}"
        ) from error
    assert isinstance(merged, DictConfig)
    return to_run_config(merged)


def dump_run_config(config: RunConfig) -> str:
    """Return the settings as YAML; the chosen options are named in ``option``."""
    content = OmegaConf.create(OmegaConf.structured(config))
    plain = OmegaConf.to_container(content)
    assert isinstance(plain, dict)
    for group, options in _OPTIONS.items():
        chosen = type(getattr(config, group))
        option = next(name for name, schema in options.items() if schema is chosen)
        plain[group] = {"option": option, **plain[group]}
    return OmegaConf.to_yaml(OmegaConf.create(plain))


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise UserError(f"{name}={value}: must be {rule}")


def _require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    _require(value in choices, name, value, " or ".join(choices))


def _require_sides(name: str, sides: list[int] | list[float]) -> None:
    fine = len(sides) == 3 and all(side > 0 for side in sides)
    _require(fine, name, sides, "three positive numbers [z,y,x]")
