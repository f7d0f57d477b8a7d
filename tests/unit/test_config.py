"""Every option of every group composes, is checked, and survives the run folder."""

from dataclasses import asdict, fields, replace

import hydra
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from continual_repmode.compose import compose_runs
from continual_repmode.config.data import ManifestConfig, SyntheticConfig
from continual_repmode.config.run import (
    RunConfig,
    TrainConfig,
    dump_run_config,
    load_run_config,
    register_configs,
    register_scenario,
    to_run_config,
)
from continual_repmode.errors import UserError
from continual_repmode.experiments.identity import (
    default_settings,
    resolved_settings,
    run_key,
)
from continual_repmode.models.methods.condnet import CondNetConfig
from continual_repmode.models.methods.dodnet import DoDNetConfig
from continual_repmode.models.methods.multihead import (
    MultiHeadConfig,
    MultiHeadOutputConfig,
)
from continual_repmode.models.methods.multinet import FNetConfig, MultiNetConfig
from continual_repmode.models.methods.pipofan import PipoFanConfig
from continual_repmode.models.methods.tgnet import TGNetConfig
from continual_repmode.models.methods.tsn import TSNConfig
from continual_repmode.models.repmode_config import RepModeModelConfig
from continual_repmode.offers import offers
from continual_repmode.resources import config_folder
from continual_repmode.scenario import load_scenario, scenario_names
from continual_repmode.training.strategies.naive import NaiveConfig
from continual_repmode.training.strategies.repmode import RepModeConfig


def composed(*overrides: str) -> RunConfig:
    register_configs()
    for name in scenario_names():
        register_scenario(name, load_scenario(name))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return to_run_config(compose("run", overrides=list(overrides)))


def options(group: str) -> list[str]:
    """Files of a group, and what needs none."""
    offered = offers({"model": "networks", "strategy": "strategies"}.get(group, ""))
    files = {path.stem for path in (config_folder() / group).glob("*.yaml")}
    return sorted({*files, *offered})


ABLATIONS = sorted(
    path.stem for path in (config_folder() / "experiment" / "ablation").glob("*.yaml")
)

ALL_OPTIONS = [
    f"{group}={option}"
    for group in ("data", "strategy", "train", "model")
    for option in options(group)
] + [f"scenario={name}" for name in scenario_names()]


@pytest.mark.parametrize("choice", ALL_OPTIONS)
def test_every_option_composes_and_comes_back_from_the_run_folder(choice):
    needed = ["data.manifest=x.csv"] if choice == "data=manifest" else []
    config = composed(choice, *needed)
    assert load_run_config(dump_run_config(config)) == config


def test_the_defaults_are_the_quick_incremental_run():
    config = composed()
    assert config.scenario.name == "incremental"
    assert isinstance(config.data, SyntheticConfig)
    assert isinstance(config.strategy, RepModeConfig)
    assert config.model.width == 8


def test_metrics_are_names_or_a_set_and_are_checked_before_the_run():
    for text, names in {
        "metrics=lightmycells": ["lightmycells"],
        "metrics=[ssim,objects]": ["ssim", "objects"],
        "metrics=null": [],
    }.items():
        config = composed(text)
        assert config.metrics == names
        assert load_run_config(dump_run_config(config)) == config
        settings, defaults = resolved_settings(config), default_settings(config)
        key = run_key(settings, defaults, None)
        plain = run_key(resolved_settings(composed()), defaults, None)
        assert (key == plain) is (not names)  # runs of earlier versions keep theirs
    for text, told in {
        "metrics=[dicee]": "metrics=dicee: there is no such metric; did you mean dice?",
        "metrics=3": r"metrics=3: must be names",
        "metrics=[3]": r"metrics=\[3\]: must be names",
    }.items():
        with pytest.raises(UserError, match=told):
            composed(text)


def test_paper_training_is_the_setup_of_section_4_1():
    config = composed("train=paper")
    assert (config.model.width, config.model.depth) == (32, 4)
    assert config.train == TrainConfig(
        epochs=1000,
        batch_size=8,
        learning_rate=1e-4,
        schedule="constant",
        validate_every=20,
        save_every=config.train.save_every,
    )
    assert config.data.patch_size == [32, 128, 128]
    assert config.data.window_size() == (32, 128, 128)


def test_standard_training_brings_cells_that_no_setting_was_chosen_on():
    standard, mini = composed("train=standard"), composed("train=mini")
    assert (standard.data.seed, standard.data.num_test) == (1, 10)
    assert standard.train.epochs == 10 * mini.train.epochs
    assert standard.train.extension_epochs == 10 * mini.train.extension_epochs
    assert standard.model == mini.model


def test_standard_training_leaves_a_choice_of_data_alone():
    manifest = composed("train=standard", "data=manifest", "data.manifest=a.csv").data
    assert isinstance(manifest, ManifestConfig)
    assert manifest.patch_size == [16, 32, 32]
    assert composed("train=standard", "data=synthetic").data.num_test == 3


def test_runs_that_share_options_are_composed_as_hydra_does():
    options = ["scenario=joint", "model=tsn", "strategy=naive", "train=standard"]
    values = ["train.learning_rate=0.1", "data.seed=3", "model.kernel_size=3"]
    changed = [[*options, *values[:number]] for number in range(4)]
    assert compose_runs(changed) == [composed(*each) for each in changed]


def test_validation_may_be_left_to_its_share_of_the_time():
    config = composed("train.validate_every=null")
    assert config.train.validate_every is None
    assert load_run_config(dump_run_config(config)) == config
    with pytest.raises(
        UserError, match=r"validate_every=0: must be at least 1, or null"
    ):
        composed("train.validate_every=0")


def test_an_option_chooses_its_class():
    assert isinstance(composed("strategy=naive").strategy, NaiveConfig)
    manifest = composed("data=manifest", "data.manifest=x.csv").data
    assert isinstance(manifest, ManifestConfig)


@pytest.fixture(scope="module")
def plain():
    return composed()


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_changes_one_or_two_settings_of_the_network(ablation):
    paper = ("model=repmode", "strategy=naive")  # as the tables take it
    plain = composed(*paper)
    config = composed(*paper, f"experiment=ablation/{ablation}")
    changed = [
        field.name
        for field in fields(config.model)
        if getattr(config.model, field.name) != getattr(plain.model, field.name)
    ]
    assert 1 <= len(changed) <= 2
    assert replace(config, model=plain.model) == plain
    assert load_run_config(dump_run_config(config)) == config


def test_all_rows_of_table_2_are_there():
    assert len(ABLATIONS) == 14


def test_options_of_one_network_keep_their_names_in_the_run_folder():
    for option in ("fnet", "multihead_las"):
        text = dump_run_config(composed(f"model={option}", "model.kernel_size=7"))
        assert f"option: {option}\n" in text
        assert load_run_config(text).model.kernel_size == 7


def test_a_config_of_version_0_1_loads():
    text = dump_run_config(composed())
    older = text.replace("\ntrain:\n", "\ntrain:\n  memory: 2GB\n")
    assert older != text
    assert load_run_config(older) == load_run_config(text)


def test_fnet_is_multinet_with_small_kernels_and_biases():
    fnet = composed("model=fnet", "model.width=4").model
    multinet = composed(
        "model=multinet", "model.width=4", "model.kernel_size=3", "model.bias=true"
    ).model
    assert asdict(fnet) == asdict(multinet)


def test_a_command_line_value_beats_the_training_preset():
    config = composed("train=paper", "model.width=16", "data.patch_size=[16,32,32]")
    assert config.model.width == 16
    assert config.data.patch_size == [16, 32, 32]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=0", "model.width=0: must be at least 1"),
        ("model.axes=XY", "model.axes=XY: must be ZYX or YX"),
        ("model.scope=middle", "model.scope=middle: must be all or encoder"),
        ("train.epochs=0", "train.epochs=0"),
        ("train.overlap=1.0", "train.overlap=1.0"),
        ("train.schedule=linear", "constant or one_cycle"),
        ("train.loss=l2", "train.loss=l2: must be mse or mae_ssim or spotlight"),
        ("train.ema=1", "train.ema=1.0: must be 0 to below 1"),
        ("train.mixing=even", "train.mixing=even: must be random or balanced"),
        ("data.sampling=bright", "data.sampling=bright: must be uniform or foreground"),
        ("data.rotation=half", "data.rotation=half: must be none or quarter or any"),
        ("data.patch_size=[4,8,6] data.rotation=quarter", "not square in Y and X"),
        ("data.scaling=-1", "data.scaling=-1.0: must be 0 to below 1"),
        ("train.precision=half", "float32 or bfloat16 or float16"),
        ("data.patch_size=[16,32]", "three positive numbers"),
        ("data.num_test=0", "data.num_test=0"),
        ("seed=-1", "seed=-1"),
        ("scenario.new_task=lysosome", "new_task='lysosome'"),
        ("data=manifest", "data.manifest: a value is needed"),
        ("+train.foo=1", "unknown setting"),
    ],
)
def test_a_bad_value_is_told_in_one_line(override, message):
    with pytest.raises(UserError) as caught:
        composed(*override.split())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "setting", "value", "rule"),
    [
        (MultiNetConfig, "kernel_size", 4, "odd"),
        (FNetConfig, "kernel_size", -1, "odd"),
        (MultiHeadConfig, "part", "encoder", "decoder or output"),
        (MultiHeadOutputConfig, "kernel_size", 0, "odd"),
        (CondNetConfig, "head", "own", "shared or per_task"),
        (CondNetConfig, "where", "last", "all or first"),
        (CondNetConfig, "scale", 0.0, "above 0"),
        (TSNConfig, "head", "own", "shared or per_task"),
        (TSNConfig, "codes", "hash", "orthogonal or gaussian"),
        (TSNConfig, "entries_per_task", 0, "at least 1"),
        (TSNConfig, "max_tasks", 0, "at least 1"),
        (TSNConfig, "film_init", "zero", "published or identity"),
        (PipoFanConfig, "deep_supervision", -1.0, "at least 0"),
        (DoDNetConfig, "kernel_size", 2, "odd"),
        (TGNetConfig, "depth", 9, "1 to 8"),
        (RepModeModelConfig, "experts", [], "not empty"),
        (RepModeModelConfig, "scope", "middle", "all or encoder or decoder"),
        (RepModeModelConfig, "task_embedding", "hash", "one_hot or gaussian"),
        (RepModeModelConfig, "gate_hidden", 0, "at least 1, or null"),
        (RepModeModelConfig, "gate_activation", "relu", "softmax or sigmoid"),
        (RepModeModelConfig, "gate_input", "label", "task or features"),
    ],
)
def test_every_network_checks_its_settings(network, setting, value, rule):
    with pytest.raises(UserError) as caught:
        network(**{setting: value})
    assert str(caught.value) == f"model.{setting}={value}: must be {rule}"


@pytest.mark.parametrize(
    "setting", [{"task_embedding": "gaussian"}, {"gate_hidden": 6}], ids=str
)
def test_gates_of_features_have_no_settings_of_task_gates(setting):
    with pytest.raises(UserError, match=r"with model\.gate_input=features"):
        RepModeModelConfig(gate_input="features", **setting)


@pytest.mark.parametrize(
    "text", ["", "a: [", "scenario: 3", "data: {option: nothing}", "train:"]
)
def test_a_damaged_config_of_a_run_folder_is_told(text):
    with pytest.raises(UserError, match=r"config\.yaml"):
        load_run_config(text)


def test_hydra_itself_refuses_a_mistyped_setting():
    with pytest.raises(hydra.errors.ConfigCompositionException):
        composed("train.epocs=3")
