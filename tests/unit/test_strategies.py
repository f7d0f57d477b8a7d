"""Every pair of model and strategy runs, or is refused in one line that says why."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from continual_repmode import build
from continual_repmode.combinations import check_combination
from continual_repmode.config.run import (
    register_configs,
    register_scenario,
    to_run_config,
)
from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet, load_model, save_model
from continual_repmode.offers import offers
from continual_repmode.resources import config_folder
from continual_repmode.results import RunFolder
from continual_repmode.scenario import Scenario
from continual_repmode.training.strategies.replay import ReplayPlugin

MODELS = sorted(offers("networks"))
STRATEGIES = sorted({*offers("strategies"), "repmode_paper"})  # a preset of repmode
SEPARATE = ("multinet", "fnet")
ADAPTABLE = ("multihead_las", "multihead_dec", *SEPARATE)
SMALL = {"replay": 6, "der": 6, "agem": 6, "gem": 4}  # patches in memory
FROZEN = ("repmode", "repmode_paper")  # presets of the same settings
PROTECTING = ("replay", "der", "agem", "gem", "lwf", "ewc", "si", "mas")
TINY = [
    "scenario=tiny_stream",
    "model.width=2",
    "model.depth=1",
    "data.patch_size=[4,8,8]",
    "data.window=[8,16,16]",
    "train.epochs=1",
    "train.extension_epochs=1",
    "train.batch_size=4",
    "train.validate_every=1",
    "device=cpu",
]


def composed(*overrides):
    register_configs()
    tasks = [["dna", "nuclear_envelope"], ["nucleolus"]]
    register_scenario("tiny_stream", Scenario(name="tiny_stream", experiences=tasks))
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return to_run_config(compose("run", overrides=[*TINY, *overrides]))


def refused(model, strategy):
    return (
        (strategy in FROZEN and model != "repmode")
        or (strategy == "individual" and model not in SEPARATE)
        or (strategy == "adapter" and model not in ADAPTABLE)
        or (strategy in PROTECTING and model in SEPARATE)
    )


@pytest.fixture
def carry_out(tiny_collection, tmp_path, monkeypatch):
    """Carry out a run on the tiny collection, without the command around it."""
    monkeypatch.setattr(build, "build_collection", lambda *_: tiny_collection)

    def carry_out(config, name="run"):
        folder = RunFolder(tmp_path / name)
        run = build.build_run(config, folder)
        run.learn(adopt_first="base_model" in run.card.run)
        return run, folder

    return carry_out


@pytest.mark.filterwarnings("default")  # Avalanche's deprecated calls
@pytest.mark.parametrize(
    ("model", "strategy"),
    [("repmode", "repmode"), ("pipofan", "ewc"), ("multihead_las", "gem")],
)
def test_the_recipe_goes_with_every_kind_of_network_and_method(
    carry_out, model, strategy
):
    recipe = ["data.sampling=foreground", "data.rotation=quarter", "data.scaling=0.1"]
    recipe += ["data.intensity=0.1", "data.noise=0.1", "train.loss=spotlight"]
    recipe += ["train.ema=0.9", "train.mixing=balanced", "train.schedule=one_cycle"]
    config = composed(f"model={model}", f"strategy={strategy}", *recipe)
    run, folder = carry_out(config)
    proofs = folder.records()[-1].proofs
    assert all(proof["unchanged"] for proof in proofs) == (strategy == "repmode")
    train = run.benchmark.train_stream[0].dataset
    torch.manual_seed(0)
    assert not torch.equal(train[0][0], train[0][0])


def pair(model, strategy):
    small = [f"strategy.patches={SMALL[strategy]}"] if strategy in SMALL else []
    return composed(f"model={model}", f"strategy={strategy}", *small)


@pytest.mark.parametrize("model", MODELS)
def test_every_pair_can_run_or_says_why_not(model):
    for strategy in STRATEGIES:
        if not refused(model, strategy):
            check_combination(pair(model, strategy))
            continue
        with pytest.raises(UserError) as caught:
            check_combination(pair(model, strategy))
        message = str(caught.value)
        assert message.startswith(f"model={model} with strategy={strategy}: ")
        assert "; use " in message
        assert "\n" not in message


def diagonal():
    """Every strategy with a network, and every network with a strategy."""
    pairs = []
    for number, strategy in enumerate(STRATEGIES):
        possible = [model for model in MODELS if not refused(model, strategy)]
        pairs.append((possible[number % len(possible)], strategy))
    left = [model for model in MODELS if model not in dict(pairs)]
    return pairs + [(model, "naive") for model in left]


@pytest.mark.filterwarnings("default")  # Avalanche's deprecated calls
@pytest.mark.parametrize(("model", "strategy"), diagonal())
def test_every_network_and_every_strategy_runs(carry_out, model, strategy):
    run, folder = carry_out(pair(model, strategy))
    records = folder.records()
    assert run.card.run["strategy"] == strategy
    assert sum(len(record.tasks) for record in records) == 3
    assert len(records) == (1 if strategy == "joint" else 2)
    assert len(records[-1].rows) == 6  # two test images of each task
    assert not folder.state.exists()


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["strategy=repmode_paper", "model.gate_input=features"],
            "knows no tasks and cannot take a new one; use gate_input 'task'"),
        (["strategy=naive", "model.gate_input=features"],
            "knows no tasks and cannot take a new one; use gate_input 'task'"),
        (["model=tsn", "strategy=replay", "strategy.expert=null"],
            "strategy.expert=None: only model=repmode can add that to its blocks"),
        (["model=tsn", "strategy=ewc", "strategy.private_bn=true"],
            "strategy.private_bn=True: only model=repmode can add that to its blocks"),
        (["model=repmode", "strategy=naive", "strategy.init=dna"],
            "strategy.init=dna: this network has no part of a task to copy"),
        (["model=dodnet", "strategy=lwf", "strategy.init=closest"],
            "strategy.init=closest: this network has no part of a task to copy"),
        (["strategy=replay", "strategy.patches=2"],
            "strategy.patches=2: fewer than the 3 tasks of the scenario"),
        (["base_model=x", "strategy=joint"], "this run has one experience"),
        (["base_model=x", "strategy=si"], "it must learn the first experience itself"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(overrides, reason):
    with pytest.raises(UserError) as caught:
        check_combination(composed(*overrides))
    assert reason in " ".join(str(caught.value).split())
    assert "\n" not in str(caught.value)


def test_gates_that_know_no_tasks_may_learn_one_experience():
    check_combination(composed("strategy=joint", "model.gate_input=features"))


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["model=tsn", "strategy=naive", "model.max_tasks=2"], "naive: .*max_tasks"),
        (["strategy.expert=conv4"], "strategy=repmode: expert 'conv4': use"),
        (["strategy=mas", "strategy.expert=conv"], "strategy=mas: expert 'conv': use"),
        (["strategy.gate_init=clsest"],
            "repmode: gate_init 'clsest': use .*; or 'closest', which finds one"),
        (["strategy.expert_init=0"], "repmode: expert_init '0': use"),
        (["model=multihead_las", "strategy=adapter", "strategy.adapter=conv3"],
            "strategy=adapter: adapter 'conv3': use 'low_rankR' .* or 'none'"),
        (["model=fnet", "strategy=adapter", "strategy.init=fresh"],
            r"adapter: init 'fresh': use a known task \(dna, .*; or 'closest', which"),
        (["model=multihead_dec", "strategy=naive", "strategy.init=golgi"],
            "naive: init 'golgi': use 'fresh' or a known task .*; or 'closest', which"),
    ],
)  # fmt: skip
def test_what_a_later_task_cannot_get_is_refused_before_any_data(
    tmp_path, monkeypatch, overrides, reason
):
    monkeypatch.setattr(build, "build_collection", None)  # would fail if called
    with pytest.raises(UserError, match=reason):
        build.build_run(composed(*overrides), RunFolder(tmp_path))


@pytest.mark.parametrize(
    "overrides",
    [
        ["strategy.gate_init=closest", "strategy.expert_init=zero"],
        ["model=multihead_dec", "strategy=naive", "strategy.init=closest"],
        ["model=multihead_las", "strategy=naive", "strategy.init=dna"],
        ["model=multihead_dec", "strategy=adapter", "model.private_bn=true"],
    ],
)
@pytest.mark.filterwarnings("default")  # Avalanche's deprecated calls
def test_a_new_task_can_start_from_an_old_one(carry_out, overrides):
    _, folder = carry_out(composed(*overrides))
    net = load_model(folder.checkpoint(1))
    (added,) = net.architecture()["extensions"]
    start = added["gate_init"] if isinstance(net, RepModeUNet) else added["init"]
    assert start in net.task_names[:2]


def test_the_network_follows_how_experts_are_added_unless_it_is_given():
    own = ("decoder", "conv3")
    for overrides, expected in (
        ([], own),
        (["strategy=repmode_paper"], ("all", None)),
        (["strategy=repmode_paper", "strategy.expert_mix=additive"], own),
        (["strategy=joint"], ("all", None)),
        (["model.scope=all"], ("all", "conv3")),
        (["model.private_expert=null"], ("decoder", None)),
    ):
        model = composed(*overrides).model
        assert (model.scope, model.private_expert) == expected, overrides


def test_joint_learning_makes_one_experience_of_all_tasks():
    tasks = ("dna", "nuclear_envelope", "nucleolus")
    config = composed("strategy=joint")
    assert config.stream().stream == [list(tasks)]
    assert config.stream().base_tasks == tasks


class TestBaseModel:
    @pytest.fixture
    def base(self, carry_out, tmp_path):
        """A network that has learned the base tasks by fine-tuning: not frozen."""
        config = composed("strategy=naive", "seed=3")
        _, folder = carry_out(config, "base")
        path = tmp_path / "base.safetensors"
        save_model(load_model(folder.checkpoint(0)), path)
        return path

    @pytest.mark.parametrize(
        "strategy", ["repmode_paper", "naive", "replay", "ewc", "gem"]
    )
    def test_the_first_experience_is_adopted_not_trained(
        self, carry_out, base, strategy
    ):
        small = [f"strategy.patches={SMALL[strategy]}"] if strategy in SMALL else []
        config = composed(f"strategy={strategy}", f"base_model={base}", *small)
        run, folder = carry_out(config)
        first, second = folder.records()
        assert (first.adopted, second.adopted) == (True, False)
        assert first.curve == []
        assert first.num_trained_parameters == first.train_iterations == 0
        assert len(first.rows) == 4
        assert second.curve
        assert len(run.card.run["base_model"]["sha256"]) == 64
        start = load_model(base)
        kept = load_model(folder.checkpoint(0))
        signal = torch.ones(1, 1, 4, 8, 8)
        for task in (0, 1):
            torch.testing.assert_close(kept(signal, task), start(signal, task))

    def test_plugins_see_the_adopted_experience(self, carry_out, base):
        run, _ = carry_out(
            composed("strategy=replay", "strategy.patches=6", f"base_model={base}")
        )
        plugins = run.strategy.plugins
        (replay,) = [p for p in plugins if isinstance(p, ReplayPlugin)]
        assert set(replay.memory.counts()) == {0, 1, 2}

    def test_one_learned_by_fine_tuning_serves_adapters(self, carry_out):
        model = ["model=fnet", "strategy.init=dna"]
        _, folder = carry_out(composed(*model, "strategy=naive"), "base")
        base = folder.checkpoint(0)
        adapted = composed(*model, "strategy=adapter", f"base_model={base}")
        _, folder = carry_out(adapted, "adapted")
        first, second = folder.records()
        assert first.adopted
        assert [proof["unchanged"] for proof in second.proofs] == [True, True]
        assert load_model(folder.checkpoint(1)).adapter_kind("nucleolus") == "low_rank4"

    @pytest.mark.parametrize(
        ("overrides", "reason"),
        [
            (["strategy=repmode"], "its private_bn is False, that of this run True"),
            (["model.scope=decoder"], "its scope is all, that of this run decoder"),
            (["model.width=4"], "its width is 2, that of this run 4"),
            (["model=tsn", "strategy=naive"], "its "),
            (["scenario.new_task=dna"], "its tasks are dna, nuclear_envelope"),
        ],
    )
    def test_another_network_is_refused(self, carry_out, base, overrides, reason):
        with pytest.raises(UserError) as caught:
            carry_out(
                composed("strategy=repmode_paper", f"base_model={base}", *overrides)
            )
        assert str(caught.value).startswith(f"base_model={base}: ")
        assert reason in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_frozen_base_serves_repmode_only(self, carry_out):
        _, folder = carry_out(composed(), "frozen")
        base = folder.checkpoint(0)
        carry_out(composed(f"base_model={base}"), "again")
        same = ["private_bn=true", "scope=decoder", "private_expert=conv3"]
        network = [f"model.{setting}" for setting in same]
        fine_tuned = composed(f"base_model={base}", "strategy=naive", *network)
        with pytest.raises(UserError, match="this network is frozen"):
            carry_out(fine_tuned, "naive")

    def test_a_missing_file_is_told(self, carry_out):
        with pytest.raises(UserError, match=r"base_model=nowhere: no such file"):
            carry_out(composed("base_model=nowhere"))
