"""All settings of a run together: registered with Hydra, read, checked, written."""

import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from continual_repmode.checks import (
    ABOVE_0,
    SHARE,
    at_least,
    check_settings,
    one_of,
    require,
    setting,
)
from continual_repmode.config.data import DataConfig, ManifestConfig, SyntheticConfig
from continual_repmode.errors import UserError
from continual_repmode.metrics.further import choose_metrics
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.offers import Offer, offers
from continual_repmode.resources import config_folder
from continual_repmode.results import FORMATS, LOGGERS, USUAL_LOGGERS
from continual_repmode.runtime import PRECISIONS
from continual_repmode.scenario import Scenario
from continual_repmode.training.losses import LOSSES
from continual_repmode.training.sampling import SAMPLERS
from continual_repmode.training.strategies.strategy_config import StrategyConfig


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


@dataclass(kw_only=True, slots=True)
class RunConfig:
    """Everything a run depends on."""

    scenario: Scenario = MISSING
    data: DataConfig = MISSING
    model: ModelConfig = MISSING
    strategy: StrategyConfig = MISSING
    train: TrainConfig = MISSING
    #: Seed of the network, the batches and the patches.
    seed: int = 0
    #: auto, cpu, cuda or mps.
    device: str = "auto"
    #: Folder of a finished run to compute forward transfer against, or null.
    reference: str | None = None
    #: Model file to start from instead of learning the first experience, or null.
    base_model: str | None = None
    #: Folder of an interrupted run to resume; given alone.
    resume: str | None = None
    #: auto: patch, window and epochs are proposed from the volumes and the machine, and
    #: take the place of presets; null: as the settings say.
    plan: str | None = None
    #: Metrics of tests beside MSE, MAE, R2 and Pearson's r: [ssim,dice] or a set of
    #: them, field, objects or lightmycells; see docs/metrics.md.
    metrics: Any = field(default_factory=list)
    #: Where learning curves, figures and models go besides the run folder: some of
    #: csv, tensorboard, mlflow and wandb; see docs/training.md.
    loggers: Any = field(default_factory=lambda: [*USUAL_LOGGERS])
    #: What figures are written as: [png,pdf,svg]; PNG always is.
    figures: Any = field(default_factory=lambda: ["png"])

    def __post_init__(self) -> None:
        """Check ranges."""
        names = [self.metrics] if isinstance(self.metrics, str) else self.metrics or []
        listed = isinstance(names, list) and all(isinstance(n, str) for n in names)
        require(listed, "metrics", self.metrics, "names, such as [ssim,dice]")
        choose_metrics(names, "metrics=")
        self.metrics = names
        require(self.plan in (None, "auto"), "plan", self.plan, "auto, or null")
        for name, choices in (("loggers", LOGGERS), ("figures", FORMATS)):
            given = getattr(self, name)
            chosen = [given] if isinstance(given, str) else given or []
            known = isinstance(chosen, list) and all(n in choices for n in chosen)
            require(known, name, given, f"some of [{','.join(choices)}]")
            setattr(self, name, chosen)
        require(self.seed >= 0, "seed", self.seed, "at least 0")

    def stream(self) -> Scenario:
        """Return the scenario as the strategy learns it."""
        return self.strategy.stream(self.scenario)


GROUPS = ("data", "model", "strategy")
"""Groups whose options have settings of their own."""

_DATA: dict[str, type[DataConfig]] = {
    "synthetic": SyntheticConfig,
    "manifest": ManifestConfig,
}


def offered(group: str) -> dict[str, Offer]:
    """Return what a group can be, where other packages may add to it."""
    what = {"model": "networks", "strategy": "strategies"}.get(group)
    return offers(what) if what else {}


def schema_of(group: str, option: str) -> type:
    """Return the class of the settings of an option.

    Raises LookupError if there is no such option.
    Raises UserError if a package of others offers it, and cannot be used.
    """
    if group == "data":
        return _DATA[option]
    kind = ModelConfig if group == "model" else StrategyConfig
    found: type = offered(group)[option].load(kind)
    return found


def _schemas(group: str) -> dict[str, type]:
    """Return the options of a group, without what fails to load unless it is chosen."""
    found = {}
    for option in _DATA if group == "data" else offered(group):
        with suppress(UserError):
            found[option] = schema_of(group, option)
    return found


def setting_options() -> dict[str, list[str]]:
    """Return the name of every setting with the options that have it.

    Settings that are always there, such as ``seed`` and ``train.epochs``, have none.
    """
    always = {"": RunConfig, "scenario.": Scenario, "train.": TrainConfig}
    found: dict[str, list[str]] = {
        f"{group}{item.name}": []
        for group, schema in always.items()
        for item in fields(schema)
    }
    for group in GROUPS:
        for option, schema in _schemas(group).items():
            for item in fields(schema):
                found.setdefault(f"{group}.{item.name}", []).append(option)
    return found


def text_settings() -> set[str]:
    """Return the names of all settings whose value is a text, such as a path."""
    schemas: dict[str, list[type]] = {"": [RunConfig], "scenario.": [Scenario]}
    schemas["train."] = [TrainConfig]
    schemas |= {f"{group}.": [*_schemas(group).values()] for group in GROUPS}
    return {
        f"{group}{item.name}"
        for group, kinds in schemas.items()
        for kind in kinds
        for item in fields(kind)
        if item.type in (str, str | None, "str", "str | None")
    }


def literal(value: Any) -> Any:
    """Return plain values so that OmegaConf takes ``${...}`` in their texts as text."""
    match value:
        case str():
            return re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
        case dict():
            return {key: literal(item) for key, item in value.items()}
        case list():
            return [literal(item) for item in value]
    return value


def register_configs() -> None:
    """Tell Hydra the types of all settings.

    An option without a YAML file has the values of its class. In YAML,
    ``${if_added:X,Y}`` is X where a new task's expert is added to the others, else Y.
    """
    OmegaConf.register_new_resolver("if_added", _if_added, replace=True)
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    for group in GROUPS:
        for name, schema in _schemas(group).items():
            store.store(group=group, name=f"{name}_schema", node=schema)
            if not (config_folder() / group / f"{name}.yaml").is_file():
                store.store(group=group, name=name, node=schema)


def _if_added(value: Any, otherwise: Any, *, _root_: DictConfig) -> Any:
    mix = OmegaConf.select(_root_, "strategy.expert_mix")
    return value if mix == "additive" else otherwise


def register_scenario(name: str, scenario: Scenario) -> None:
    """Make ``scenario=name`` choose this scenario."""
    node = OmegaConf.structured(Scenario)
    for key, value in asdict(scenario).items():
        node[key] = literal(value)
    ConfigStore.instance().store(group="scenario", name=name, node=node)


def to_run_config(composed: DictConfig) -> RunConfig:
    """Convert what Hydra composed to plain objects, checking every value.

    Raises UserError if a required value is missing or one is out of range.
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


_WRONG_KIND = re.compile(
    r"Value '(.*)' (?:of type '.*' could not be converted to|is not a valid) (\w+)"
)
_KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}


def one_line(error: OmegaConfBaseException) -> str:
    """Return an OmegaConf error as one line that names the setting."""
    first = str(error).strip().splitlines()[0]
    key = getattr(error, "full_key", None)
    if found := _WRONG_KIND.search(first):
        return f"{key}={found[1]}: give {_KINDS.get(found[2], found[2])}"
    if "missing mandatory value" in first:
        return f"{key}: a value is needed; give it as {key}=VALUE"
    if key and key not in first:
        return f"{key}: {first}"
    return first


def option_name(group: str, chosen: object) -> str:
    """Return the option of ``group`` that settings belong to, such as ``ewc``."""
    schemas = _schemas(group).items()
    return next(name for name, schema in schemas if schema is type(chosen))


def strategy_name(strategy: StrategyConfig) -> str:
    """Return the preset of ``strategy`` that settings belong to."""
    return strategy.preset(option_name("strategy", strategy))


def load_run_config(text: str) -> RunConfig:
    """Read the ``config.yaml`` of a run folder.

    Raises UserError if it is damaged or was written by another version.
    """
    try:
        loaded = yaml.safe_load(text)
        loaded["train"].pop("memory", None)  # an option of version 0.1
        schema = OmegaConf.structured(RunConfig)
        for group in GROUPS:
            option = loaded[group].pop("option")
            schema[group] = OmegaConf.structured(schema_of(group, option))
        merged = OmegaConf.merge(schema, literal(loaded))
    except (
        OmegaConfBaseException,
        YAMLError,
        AttributeError,  # a group that is empty
        LookupError,
        TypeError,
    ) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"the config.yaml of that run folder cannot be read by this version: "
            f"{type(error).__name__}: {reason}"
        ) from error
    assert isinstance(merged, DictConfig)
    return to_run_config(merged)


def dump_run_config(config: RunConfig) -> str:
    """Return the settings as YAML; the chosen options are named in ``option``."""
    plain = plain_settings(config)
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text


def plain_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain values; the chosen options are in ``option``."""
    plain = asdict(config)
    for group in GROUPS:
        option = option_name(group, getattr(config, group))
        plain[group] = {"option": option, **plain[group]}
    return plain
