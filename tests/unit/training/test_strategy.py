"""What the strategies promise, on a stream small enough for seconds."""

import copy
import inspect
import logging
from dataclasses import fields
from functools import partial
from importlib import import_module

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet, reparameterize
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.methods.pipofan import PipoFan
from continual_repmode.scenario import Scenario
from continual_repmode.training import task_module
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.metric_plugins import regression_metrics
from continual_repmode.training.plugins.unchanged_tasks import ForgettingError
from continual_repmode.training.strategies.adapter import AdapterConfig
from continual_repmode.training.strategies.naive import NaiveConfig
from continual_repmode.training.strategies.repmode import RepModeConfig
from continual_repmode.training.strategy import Adapter, Individual, Naive, RepMode
from continual_repmode.training.streams import build_benchmark
from continual_repmode.training.task_module import closest_task


def learn(strategy, benchmark, upto):
    for experience in benchmark.train_stream[:upto]:
        strategy.train(experience)
    return strategy


def scores(strategy, benchmark):
    strategy.eval(benchmark.test_stream[: len(strategy.net.task_names) - 1])
    return {
        (row.task, row.image): row.metrics
        for row in regression_metrics(strategy.evaluator).rows
    }


def adamw(parameters, lr):
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.1)


def sgd(parameters, lr):
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=0.1)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (torch.optim.Adam, {}),
        (sgd, {"expert": None}),
        (adamw, {"private_bn": True, "gate_init": "closest"}),
        (sgd, {"use_extensions": True, "gate_init": "uniform"}),
        (adamw, {"use_extensions": True}),
    ],
)
def test_repmode_keeps_every_old_metric_exactly(
    make_strategy, benchmark, optimizer, options
):
    strategy = learn(
        make_strategy(RepMode, optimizer=optimizer, **options), benchmark, 1
    )
    before = scores(strategy, benchmark)
    for experience in benchmark.train_stream[1:]:
        strategy.train(experience)
        assert strategy.proof.proofs
        assert all(proof.unchanged for proof in strategy.proof.proofs)
    after = scores(strategy, benchmark)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 4


@pytest.mark.parametrize(
    ("adapter", "optimizer"),
    [("none", adamw), ("low_rank2", sgd), ("residual", adamw), ("grouped", sgd)],
)
@pytest.mark.parametrize(
    "network",
    [
        partial(MultiHeadUNet, part="output"),
        partial(MultiHeadUNet, part="decoder", private_bn=True),
        partial(MultiNet, bias=True),
    ],
    ids=["output", "decoder", "fnet"],
)
def test_adapters_keep_every_old_metric_exactly(benchmark, network, adapter, optimizer):
    torch.manual_seed(0)
    net = network(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
    strategy = Adapter(
        model=net,
        adapter=adapter,
        optimizer=optimizer(net.parameters(), lr=0.01),
        outer_rate=10.0,
        train_mb_size=4,
        window=(8, 16, 16),
    )
    strategy.train(benchmark.train_stream[0])
    before = scores(strategy, benchmark)
    for experience, task in zip(
        benchmark.train_stream[1:], ["nucleolus", "cell_membrane"], strict=True
    ):
        strategy.train(experience)
        assert strategy.proof.proofs
        assert all(proof.unchanged for proof in strategy.proof.proofs)
        held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
        assert sum(p.numel() for p in held) == net.num_task_parameters(task)
        assert len(strategy.optimizer.param_groups[-1]["params"]) == (
            6 if adapter == "low_rank2" else 0
        )
    after = scores(strategy, benchmark)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 4


@pytest.mark.parametrize(
    ("init", "start"), [("dna", "dna"), ("closest", "nuclear_envelope")]
)
def test_adapters_start_from_a_task_by_name_or_the_closest(
    benchmark, monkeypatch, init, start
):
    monkeypatch.setattr(task_module, "closest_task", lambda *_: "nuclear_envelope")
    net = MultiNet(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
    strategy = Adapter(model=net, init=init)
    strategy.model.adaptation(benchmark.train_stream[1])
    (added,) = net.architecture()["extensions"]
    assert added["init"] == start


def test_naive_changes_old_tasks_and_says_so(make_strategy, benchmark):
    strategy = learn(make_strategy(Naive), benchmark, 1)
    before = scores(strategy, benchmark)
    strategy.train(benchmark.train_stream[1])
    assert not any(proof.unchanged for proof in strategy.proof.proofs)
    after = scores(strategy, benchmark)
    assert all(after[key] != before[key] for key in before)


@pytest.mark.parametrize("private_bn", [False, True])
def test_fine_tuning_moves_batch_statistics_unless_a_new_task_has_its_own(
    make_strategy, benchmark, private_bn
):
    strategy = learn(make_strategy(Naive, private_bn=private_bn), benchmark, 1)
    before = {
        name: value.clone()
        for name, value in strategy.net.state_dict().items()
        if "running_" in name
    }
    strategy.train(benchmark.train_stream[1])
    after = strategy.net.state_dict()
    same = [torch.equal(after[name], value) for name, value in before.items()]
    assert all(same) if private_bn else not any(same)


def test_an_extension_moves_only_what_it_added(make_strategy, benchmark):
    strategy = learn(make_strategy(RepMode), benchmark, 1)
    old = {name: p.clone() for name, p in strategy.net.state_dict().items()}
    strategy.train(benchmark.train_stream[1])
    held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    added = strategy.net.num_task_parameters("nucleolus")
    assert sum(p.numel() for p in held) == added
    new = strategy.net.state_dict()
    assert all(torch.equal(new[name], value) for name, value in old.items())


def meddle(strategy):
    with torch.no_grad():
        next(p for p in strategy.net.parameters() if p.dim() == 5).add_(1e-3)


@pytest.mark.parametrize(
    "hook", ["after_training_iteration", "after_training_exp", "after_training"]
)
def test_a_plugin_that_breaks_the_promise_stops_the_run(make_strategy, benchmark, hook):
    class Meddler(SupervisedPlugin):
        pass

    setattr(Meddler, hook, lambda self, strategy, **_: meddle(strategy))
    strategy = learn(make_strategy(RepMode, plugins=[Meddler()]), benchmark, 1)
    with pytest.raises(ForgettingError, match="changed dna, nuclear_envelope"):
        strategy.train(benchmark.train_stream[1])


def test_what_changes_between_two_experiences_is_found(make_strategy, benchmark):
    strategy = learn(make_strategy(RepMode), benchmark, 1)
    meddle(strategy)
    with pytest.raises(ForgettingError, match=r"dna, nuclear_envelope changed after"):
        strategy.train(benchmark.train_stream[1])


def test_without_a_promise_a_change_between_experiences_is_recorded(
    make_strategy, benchmark
):
    strategy = learn(make_strategy(Naive, train_epochs=1), benchmark, 1)
    left = dict(strategy.proof.left)
    meddle(strategy)
    strategy.train(benchmark.train_stream[1])
    assert {p.task: p.before for p in strategy.proof.proofs} == left


def test_experiences_in_one_call_are_proved_one_after_the_other(
    make_strategy, benchmark
):
    strategy = make_strategy(RepMode)
    seen = []

    class Watch(SupervisedPlugin):
        def before_training_exp(self, strategy, **_):
            seen.append(dict(strategy.proof.left))

    strategy.plugins.append(Watch())
    strategy.train(benchmark.train_stream)
    assert [len(left) for left in seen] == [0, 2, 3]
    assert [p.task for p in strategy.proof.proofs] == list(seen[2])
    assert all(p.before == seen[2][p.task] for p in strategy.proof.proofs)
    assert all(p.unchanged for p in strategy.proof.proofs)


def test_eval_on_the_whole_stream_says_what_it_left_out(
    make_strategy, benchmark, caplog
):
    strategy = learn(make_strategy(RepMode), benchmark, 1)
    with caplog.at_level(logging.WARNING):
        values = strategy.eval(benchmark.test_stream)
    assert "nucleolus, cell_membrane" in caplog.text
    assert "r2/test_stream/dna" in values
    assert not any("nucleolus" in name for name in values)


def test_evaluation_measures_the_merged_network_on_whole_volumes(
    make_strategy, benchmark
):
    strategy = learn(make_strategy(RepMode), benchmark, 1)
    strategy.eval(benchmark.test_stream[:1])
    row = regression_metrics(strategy.evaluator).rows[0]
    signal, target, label = benchmark.test_stream[0].dataset[0]
    with torch.no_grad():
        predicted = reparameterize(strategy.net, int(label)).eval()(signal[None])
    expected = torch.mean((predicted - target[None]).double() ** 2).item()
    assert row.metrics.mse == pytest.approx(expected, rel=1e-5)


def test_the_best_epoch_is_kept_not_the_last(make_strategy, benchmark):
    strategy = make_strategy(RepMode, train_epochs=6, lr=0.3)
    strategy.train(benchmark.train_stream[0])
    validated = [point.valid_mse for point in strategy.validation.curve]
    assert strategy.validation.best_mse == min(validated)
    errors = []
    for index in range(2):
        signal, target, label = benchmark.valid_stream[0].dataset[index]
        predicted = strategy.predict(signal[None], int(label))
        errors.append(torch.mean((predicted[0] - target).double() ** 2).item())
    assert sum(errors) / 2 == pytest.approx(min(validated), rel=1e-6)


def test_learning_lowers_the_error_of_a_new_task(make_strategy, benchmark):
    strategy = make_strategy(RepMode, train_epochs=30, extension_epochs=30)
    learn(strategy, benchmark, 2)
    curve = [point.valid_mse for point in strategy.validation.curve]
    assert len(curve) == 30
    assert min(curve) < 0.8


def test_extension_epochs_replace_the_epochs_of_later_experiences(
    make_strategy, benchmark
):
    strategy = make_strategy(RepMode, train_epochs=1, extension_epochs=3)
    learn(strategy, benchmark, 1)
    assert len(strategy.validation.curve) == 1
    strategy.train(benchmark.train_stream[1])
    assert len(strategy.validation.curve) == 3


def test_batches_mix_tasks(make_strategy, benchmark):
    class Watch(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.seen = []

        def before_forward(self, strategy, **_):
            self.seen.append(set(strategy.mb_task_id.tolist()))

    watch = Watch()
    make_strategy(RepMode, plugins=[watch]).train(benchmark.train_stream[0])
    assert {0, 1} in watch.seen


def test_training_a_learned_experience_again_is_refused(make_strategy, benchmark):
    strategy = learn(make_strategy(RepMode), benchmark, 1)
    with pytest.raises(UserError, match="frozen before"):
        strategy.train(benchmark.train_stream[0])


def test_a_network_with_other_labels_is_refused(benchmark):
    net = RepModeUNet(task_names=["nuclear_envelope", "dna"], width=2, depth=1)
    with pytest.raises(UserError, match=r"benchmark\.base_tasks"):
        RepMode(model=net).train(benchmark.train_stream[0])


def test_nothing_learned_nothing_to_evaluate(benchmark):
    net = RepModeUNet(task_names=["desmosome"], width=2, depth=1)
    with pytest.raises(UserError, match="none of the tasks"):
        RepMode(model=net).eval(benchmark.test_stream)


def test_individual_networks_train_the_new_one_only(benchmark):
    net = MultiNet(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1)
    loop = {"optimizer": optimizer, "train_mb_size": 4, "window": (8, 16, 16)}
    strategy = learn(Individual(model=net, **loop), benchmark, 1)
    old = {name: p.clone() for name, p in net.state_dict().items()}
    strategy.train(benchmark.train_stream[1])
    assert all(proof.unchanged for proof in strategy.proof.proofs)
    held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    assert sum(p.numel() for p in held) == net.num_task_parameters("nucleolus")
    assert all(torch.equal(net.state_dict()[name], p) for name, p in old.items())


def together(tiny_collection):
    """Two tasks are known; two arrive together."""
    tasks = [["dna", "nuclear_envelope"], ["nucleolus", "cell_membrane"]]
    scenario = Scenario(name="pairs", experiences=tasks)
    return build_benchmark(scenario, data=tiny_collection, patch_size=(4, 8, 8))


@pytest.mark.parametrize("kind", [RepMode, Individual, Adapter])
def test_tasks_that_arrive_together_are_all_learned(tiny_collection, kind):
    benchmark = together(tiny_collection)
    network = RepModeUNet if kind is RepMode else partial(MultiNet, kernel_size=3)
    net = network(benchmark.base_tasks, width=2, depth=1)
    strategy = learn(kind(model=net, train_epochs=1, window=(8, 16, 16)), benchmark, 2)
    held = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    new = ("nucleolus", "cell_membrane")
    assert sum(p.numel() for p in held) == sum(map(net.num_task_parameters, new))
    assert [proof.task for proof in strategy.proof.proofs] == list(benchmark.base_tasks)
    assert all(proof.unchanged for proof in strategy.proof.proofs)


def test_tasks_that_arrive_together_do_not_use_each_others_experts(tiny_collection):
    benchmark = together(tiny_collection)
    net = RepModeUNet(benchmark.base_tasks, width=2, depth=1)
    learn(RepMode(model=net, use_extensions=True, train_epochs=1), benchmark, 2)
    experts = {table.task: table.experts for table in net.gating_weights()}
    assert experts["nucleolus"][-1] == "extension_nucleolus"
    assert "extension_nucleolus" not in experts["cell_membrane"]


@pytest.mark.parametrize(
    ("new", "closest"), [("nucleolus", "dna"), ("cell_membrane", "nuclear_envelope")]
)
def test_the_closest_task_is_found_on_the_new_tasks_own_images(
    tiny_collection, new, closest
):
    class Known(torch.nn.Module):
        """Dna follows the light, as nucleolus does; nuclear envelope is its inverse."""

        def __init__(self):
            super().__init__()
            self.sign = torch.nn.Parameter(torch.tensor([1.0, -1.0]))

        def task_label(self, name):
            return ("dna", "nuclear_envelope").index(name)

        def forward(self, signal, label):
            return self.sign[label] * signal

    experience = together(tiny_collection).train_stream[1]
    known = ("dna", "nuclear_envelope")
    assert closest_task(Known(), known, new, experience) == closest


@pytest.mark.parametrize(
    ("init", "copied"), [("fresh", None), ("dna", "dna"), ("closest", "dna")]
)
def test_fine_tuning_starts_a_head_fresh_or_as_a_copy(
    benchmark, monkeypatch, init, copied
):
    monkeypatch.setattr(task_module, "closest_task", lambda *_: "dna")
    net = MultiHeadUNet(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
    strategy = Naive(model=net, init=init, train_epochs=1, window=(8, 16, 16))
    strategy.model.adaptation(benchmark.train_stream[1])
    heads = {t: dict(net.parts.of(t).named_parameters()) for t in net.task_names}
    for name, value in heads["nucleolus"].items():
        for task in benchmark.base_tasks:
            same = torch.equal(value, heads[task][name])
            assert same == (task == copied) or value.std() == 0  # biases start alike


def test_individual_training_refuses_a_network_that_tasks_share(benchmark):
    net = MultiHeadUNet(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
    with pytest.raises(UserError, match="share parameters"):
        Individual(model=net)


class TestSidePredictions:
    @pytest.fixture
    def strategy(self, benchmark):
        torch.manual_seed(0)
        net = PipoFan(benchmark.base_tasks, width=2, depth=1, kernel_size=3)
        return Naive(model=net, train_mb_size=4, window=(8, 16, 16))

    def test_they_are_part_of_the_training_loss_with_their_weight(
        self, strategy, benchmark
    ):
        class Compare(SupervisedPlugin):
            def __init__(self):
                super().__init__()
                self.losses, self.expected = [], []

            def before_forward(self, strategy, **_):
                self.net = copy.deepcopy(strategy.net)

            def before_backward(self, strategy, **_):
                self.losses.append(strategy.loss.item())
                with torch.no_grad():
                    main = self.net(strategy.mb_x, strategy.mb_task_id)
                sides = self.net.side_predictions
                assert sides
                errors = [((p - strategy.mb_y) ** 2).mean() for p in (main, *sides)]
                mean = sum(errors[1:]) / len(sides)
                self.expected.append((errors[0] + 2.5 * mean).item())

        strategy.net.side_weight = 2.5
        compare = Compare()
        strategy.plugins.insert(0, compare)
        strategy.train(benchmark.train_stream[0])
        assert compare.losses == pytest.approx(compare.expected, rel=1e-5)

    def test_no_graph_is_kept_after_a_step(self, strategy, benchmark):
        strategy.train(benchmark.train_stream[0])
        assert strategy.net.side_predictions == ()
        assert strategy._side_predictions == ()

    def test_validation_and_test_ignore_them(self, strategy, benchmark):
        strategy.train(benchmark.train_stream[0])
        strategy.eval(benchmark.test_stream[:1])
        row = regression_metrics(strategy.evaluator).rows[0]
        signal, target, label = benchmark.test_stream[0].dataset[0]
        with torch.no_grad():
            predicted = strategy.net.eval()(signal[None], int(label))
        expected = torch.mean((predicted - target[None]).double() ** 2).item()
        assert row.metrics.mse == pytest.approx(expected, rel=1e-5)


def test_adopting_takes_tasks_as_learned_without_a_step(make_strategy, benchmark):
    class Seen(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.experiences = []

        def after_training_exp(self, strategy, **_):
            self.experiences.append(strategy.experience.current_experience)

    seen = Seen()
    strategy = make_strategy(RepMode, plugins=[seen], train_epochs=3)
    before = {n: p.clone() for n, p in strategy.net.named_parameters()}
    strategy.adopt(benchmark.train_stream[0])
    after = dict(strategy.net.named_parameters())
    assert all(torch.equal(before[n], p) for n, p in after.items())
    assert seen.experiences == [0]
    assert strategy.net.is_frozen
    assert strategy.clock.train_iterations == 0
    strategy.train(benchmark.train_stream[1])
    assert len(strategy.validation.curve) == 3
    assert all(proof.unchanged for proof in strategy.proof.proofs)


def test_a_network_learned_elsewhere_gains_a_task_without_the_old_data(
    make_strategy, benchmark, tiny_collection
):
    net = learn(make_strategy(RepMode), benchmark, 1).net
    old = {task: net.task_state(task) for task in net.task_names}
    extension = build_benchmark(
        Scenario(name="new", experiences=[["nucleolus"]]),
        data=tiny_collection,
        patch_size=(4, 8, 8),
        known_tasks=net.task_names,
    )
    strategy = RepMode(model=net, train_mb_size=4, train_epochs=2, window=(8, 16, 16))
    strategy.train(extension.train_stream[0])
    assert [proof.task for proof in strategy.proof.proofs] == list(old)
    assert all(proof.unchanged for proof in strategy.proof.proofs)
    assert net.task_names == ("dna", "nuclear_envelope", "nucleolus")
    for task, state in old.items():
        new = net.task_state(task)
        assert all(torch.equal(new[name], value) for name, value in state.items())
    rows = strategy.eval(extension.test_stream)
    assert "r2/test_stream/nucleolus" in rows


def test_a_strategy_in_python_has_the_options_and_defaults_of_its_settings():
    kinds = {RepMode: RepModeConfig, Adapter: AdapterConfig, Naive: NaiveConfig}
    for kind, settings in kinds.items():
        accepted = inspect.signature(kind).parameters
        for option in fields(settings):
            assert accepted[option.name].default == option.default, option.name


def test_float16_learns_as_float32_and_leaves_out_steps_that_overflow(
    make_strategy, benchmark
):
    def learned(precision, **scale):
        torch.manual_seed(0)
        strategy = make_strategy(Naive, precision=precision, optimizer=sgd)
        scaler = strategy.scaler
        if scale:
            strategy.scaler = torch.amp.GradScaler("cpu", **scale)
        start = [p.detach().clone() for p in strategy.net.parameters()]
        learn(strategy, benchmark, 1)
        assert scaler.is_enabled() == (precision == "float16")
        moved = [
            (p.detach() - s).norm()
            for p, s in zip(strategy.net.parameters(), start, strict=True)
        ]
        return strategy, torch.stack(moved), strategy.validation.curve[-1].train_loss

    _, expected, loss = learned("float32")
    _, moved, half_loss = learned("float16")
    assert half_loss == pytest.approx(loss, rel=0.02)
    assert (moved - expected).norm() < 0.1 * expected.norm()
    strategy, moved, _ = learned("float16", init_scale=2.0**100)
    assert moved.norm() == 0  # every step overflowed
    steps = strategy.clock.train_iterations
    assert strategy.scaler.get_scale() == 2.0 ** (100 - steps)


def _refuse(*_):
    raise RuntimeError("no compiler is here")


def _refusing(forward):
    """As PyTorch's compiler when it fails, without the minute it takes to."""

    def call(*_):
        raise import_module("torch._dynamo.exc").TorchDynamoException("not here")

    return call


def _compiler(backend, compile=torch.compile):
    def compiled(forward):
        torch.compiler.reset()
        return compile(forward, backend=backend)

    return compiled


@pytest.mark.parametrize(
    ("compiler", "fails"),
    [
        (_refusing, 1),
        pytest.param(_compiler(_refuse), 1, marks=pytest.mark.slow),
        pytest.param(_compiler(lambda g, _: g.forward), 0, marks=pytest.mark.slow),
    ],
    ids=["no compiler", "a compiler that fails", "a compiler"],
)
def test_a_compiled_network_learns_the_same_also_where_that_fails(
    make_strategy, benchmark, monkeypatch, caplog, compiler, fails
):
    """With a compiler that keeps the operations, as the usual one takes minutes."""

    def losses(**options):
        strategy = learn(make_strategy(Naive, train_epochs=1, **options), benchmark, 1)
        return [point.train_loss for point in strategy.validation.curve]

    expected = losses()
    monkeypatch.setattr(torch, "compile", compiler)
    assert losses(compile=True) == pytest.approx(expected, rel=1e-4)
    said = [m for m in caplog.messages if m.startswith("train.compile=true: ")]
    assert len(said) == fails
    assert all("training continues without" in message for message in said)
