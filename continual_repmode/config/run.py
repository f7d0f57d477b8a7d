"""All settings of a run together: registered with Hydra, read, checked, written."""

import re
from dataclasses import dataclass, fields, replace
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from continual_repmode.config.checks import require
from continual_repmode.config.data import ManifestConfig, SyntheticConfig
from continual_repmode.config.model import (
    CondNetConfig,
    DoDNetConfig,
    FNetConfig,
    MultiHeadConfig,
    MultiHeadOutputConfig,
    MultiNetConfig,
    PipoFanConfig,
    RepModeModelConfig,
    TGNetConfig,
    TSNConfig,
)
from continual_repmode.config.strategy import (
    AdapterConfig,
    AGEMConfig,
    CumulativeConfig,
    DERConfig,
    EWCConfig,
    GEMConfig,
    IndividualConfig,
    JointConfig,
    LwFConfig,
    MASConfig,
    NaiveConfig,
    ReplayConfig,
    RepModeConfig,
    SIConfig,
)
from continual_repmode.config.train import TrainConfig
from continual_repmode.errors import UserError
from continual_repmode.scenario import Scenario


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
    model: Any = MISSING
    strategy: Any = MISSING
    train: TrainConfig = MISSING
    #: Seed of the network, the batches and the patches.
    seed: int = 0
    #: auto, cpu or cuda.
    device: str = "auto"
    #: Folder of a finished run to compute forward transfer against, or null.
    reference: str | None = None
    #: Model file to start from instead of learning the first experience, or null.
    base_model: str | None = None
    #: Folder of an interrupted run to go on with; given alone.
    resume: str | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.seed >= 0, "seed", self.seed, "at least 0")

    def stream(self) -> Scenario:
        """Return the checked scenario; joint learning has one experience."""
        chosen = self.scenario
        scenario = Scenario(
            name=chosen.name,
            description=chosen.description,
            experiences=chosen.experiences,
            new_task=chosen.new_task,
        )
        if not isinstance(self.strategy, JointConfig):
            return scenario
        everything = [list(scenario.task_names)]
        return replace(scenario, experiences=everything, new_task=None)


_OPTIONS: dict[str, dict[str, type]] = {
    "data": {
        "synthetic": SyntheticConfig,
        "manifest": ManifestConfig,
    },
    "model": {
        "repmode": RepModeModelConfig,
        "multinet": MultiNetConfig,
        "fnet": FNetConfig,
        "multihead_dec": MultiHeadConfig,
        "multihead_las": MultiHeadOutputConfig,
        "condnet": CondNetConfig,
        "tsn": TSNConfig,
        "pipofan": PipoFanConfig,
        "dodnet": DoDNetConfig,
        "tgnet": TGNetConfig,
    },
    "strategy": {
        "repmode": RepModeConfig,
        "adapter": AdapterConfig,
        "naive": NaiveConfig,
        "individual": IndividualConfig,
        "cumulative": CumulativeConfig,
        "joint": JointConfig,
        "replay": ReplayConfig,
        "der": DERConfig,
        "lwf": LwFConfig,
        "ewc": EWCConfig,
        "si": SIConfig,
        "mas": MASConfig,
        "gem": GEMConfig,
        "agem": AGEMConfig,
    },
}


def setting_options() -> dict[str, list[str]]:
    """Return the name of every setting with the options that have it.

    Settings that are always there, such as ``seed`` and ``train.epochs``, have none.
    """
    always = {"": RunConfig, "scenario.": ScenarioConfig, "train.": TrainConfig}
    found: dict[str, list[str]] = {
        f"{group}{item.name}": []
        for group, schema in always.items()
        for item in fields(schema)
    }
    for group, options in _OPTIONS.items():
        for option, schema in options.items():
            for item in fields(schema):
                found.setdefault(f"{group}.{item.name}", []).append(option)
    return found


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
    schemas = _OPTIONS[group].items()
    return next(name for name, schema in schemas if schema is type(chosen))


def strategy_name(strategy: object) -> str:
    """Return the preset of ``strategy`` that settings belong to.

    ``repmode`` and ``repmode_paper`` are presets of the same option; they differ in how
    a new expert is mixed with the others.
    """
    name = option_name("strategy", strategy)
    paper = isinstance(strategy, RepModeConfig) and strategy.expert_mix == "softmax"
    return "repmode_paper" if paper else name


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
        loaded["train"].pop("memory", None)  # an option of version 0.1
        schema = OmegaConf.structured(RunConfig)
        for group, options in _OPTIONS.items():
            schema[group] = OmegaConf.structured(options[loaded[group].pop("option")])
        merged = OmegaConf.merge(schema, loaded)
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
    return OmegaConf.to_yaml(OmegaConf.create(plain_settings(config)))


def plain_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings as plain values; the chosen options are in ``option``."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    for group in _OPTIONS:
        option = option_name(group, getattr(config, group))
        plain[group] = {"option": option, **plain[group]}
    return {str(name): value for name, value in plain.items()}
