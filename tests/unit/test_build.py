"""Every choice of a network is built as its settings say."""

from dataclasses import asdict

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from continual_repmode.build import build_network
from continual_repmode.config.run import (
    RunConfig,
    register_configs,
    register_scenario,
    to_run_config,
)
from continual_repmode.models import RepModeUNet, TaskNetwork
from continual_repmode.offers import offers
from continual_repmode.resources import config_folder
from continual_repmode.results import RunFolder
from continual_repmode.scenario import load_scenario

CLASSES = {
    "repmode": "RepModeUNet",
    "multinet": "MultiNet",
    "fnet": "MultiNet",
    "multihead_dec": "MultiHeadUNet",
    "multihead_las": "MultiHeadUNet",
    "condnet": "CondNet",
    "tsn": "TaskSwitchingUNet",
    "pipofan": "PipoFan",
    "dodnet": "DoDNet",
    "tgnet": "TGNet",
}
ABLATIONS = sorted(
    path.stem for path in (config_folder() / "experiment" / "ablation").glob("*.yaml")
)
SMALL = ("model.width=2", "model.depth=1")


@pytest.fixture
def build(tmp_path):
    """Build the network of a run with these settings, small."""

    def make(*overrides: str) -> tuple[RunConfig, TaskNetwork]:
        register_configs()
        register_scenario("incremental", load_scenario("incremental"))
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = to_run_config(compose("run", overrides=[*overrides, *SMALL]))
        return config, build_network(config, RunFolder(tmp_path))

    return make


def test_every_option_is_looked_at():
    assert set(offers("networks")) == set(CLASSES)


@pytest.mark.parametrize("option", CLASSES)
def test_every_option_builds_its_network_with_all_its_settings(build, option):
    config, net = build(f"model={option}", "model.axes=YX")
    architecture = net.architecture()
    assert architecture["network"] == CLASSES[option]
    assert net.task_names == config.stream().base_tasks
    for name, value in asdict(config.model).items():
        assert architecture[name] == value, name


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_builds_its_network(build, ablation):
    config, net = build(f"experiment=ablation/{ablation}")
    architecture = net.architecture()
    plain = RepModeUNet(config.stream().base_tasks, 2, 1).architecture()
    changed = {name for name in plain if architecture[name] != plain[name]}
    assert changed
    assert all(architecture[n] == getattr(config.model, n) for n in changed)


def test_the_seed_of_the_run_decides_the_parameters(build):
    first, again, other = (build(f"seed={seed}")[1].state_dict() for seed in (0, 0, 1))
    assert all((first[name] == again[name]).all() for name in first)
    assert not all((first[name] == other[name]).all() for name in first)
