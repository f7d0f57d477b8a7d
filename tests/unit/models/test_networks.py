"""What holds for every task-conditioned network, whatever its method."""

import copy
import functools
import json

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import deploy, fingerprint, load_model, save_model
from continual_repmode.models.networks import NETWORKS, rebuild

TASKS = ("red", "green", "blue")

SMALL = {"width": 4, "depth": 2}

CASES = {name: (name, {}) for name in NETWORKS} | {
    "fnet": ("MultiNet", {"kernel_size": 3, "bias": True}),
    "MultiHeadUNet-output": ("MultiHeadUNet", {"part": "output"}),
    "MultiHeadUNet-private_bn": ("MultiHeadUNet", {"private_bn": True}),
    "CondNet-per_task": ("CondNet", {"head": "per_task"}),
    "TaskSwitchingUNet-per_task": ("TaskSwitchingUNet", {"head": "per_task"}),
}
for _name, _options in CASES.values():
    if _name != "RepModeUNet":
        _options.setdefault("kernel_size", 3)  # as telling as 5, and faster

SHAPES = {"ZYX": (4, 8, 4), "YX": (1, 8, 8)}


def build(case, **arguments):
    """Make a small float64 network in evaluation mode with telling statistics."""
    net = copy.deepcopy(_build_once(case, *arguments.items()))
    torch.manual_seed(1)
    return net


@functools.cache
def _build_once(case, *arguments):
    name, options = CASES[case]
    torch.manual_seed(0)
    net = NETWORKS[name](TASKS, **SMALL | options | dict(arguments)).double()
    generator = torch.Generator().manual_seed(7)
    shape = (6, net.in_channels, *SHAPES[net.axes])
    signal = torch.randn(shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(3):
            net(signal, torch.tensor([0, 1, 2, 2, 1, 0]))
    return net.eval()


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture(params=SHAPES)
def axes(request):
    return request.param


def tensors_of(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_a_mixed_batch_equals_its_samples_one_by_one_in_evaluation(
    case, axes, make_signal
):
    net = build(case, axes=axes)
    signal, labels = make_signal(5, 1, *SHAPES[axes]), [1, 2, 1, 0, 2]
    mixed = net(signal, torch.tensor(labels, dtype=torch.uint8))
    assert mixed.shape == signal.shape
    for row, label in enumerate(labels):
        torch.testing.assert_close(mixed[row : row + 1], net(signal[row][None], label))


def test_tasks_predict_differently(case, make_signal):
    net, signal = build(case), make_signal(1, 1, 4, 8, 4)
    predictions = [net(signal, label) for label in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(predictions[a], predictions[b])


@pytest.mark.parametrize("training", [True, False])
def test_the_order_of_the_batch_does_not_matter(case, make_signal, training):
    net = build(case).train(training)
    other = copy.deepcopy(net)
    signal, labels = make_signal(5, 1, 4, 8, 4), torch.tensor([1, 2, 1, 0, 2])
    order = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(
        net(signal, labels)[order], other(signal[order], labels[order])
    )
    for (name, mine), theirs in zip(net.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_gradients_reach_all_that_the_tasks_present_use_and_nothing_else(
    case, make_signal
):
    net = build(case, width=16).train()  # narrow gates can be dead
    signal, labels = make_signal(4, 1, 4, 8, 4), torch.tensor([2, 0, 2, 0])
    target = make_signal(4, 1, 4, 8, 4, seed=2)
    net(signal, labels).sub(target).square().mean().backward()
    absent = {f"{what}_green" for what in net.owned}
    for name, parameter in net.named_parameters():
        if absent & set(name.split(".")):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_training_on_a_task_improves_it(case, make_signal):
    net = build(case).train()
    signal = make_signal(4, 1, 4, 8, 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = (net(signal, 1) - signal).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_side_predictions_are_made_in_training_alone(case, make_signal):
    net, signal = build(case).train(), make_signal(2, 1, 4, 8, 4)
    net(signal, 0)
    assert bool(net.side_predictions) == (net.side_weight > 0)
    assert all(side.shape == signal.shape for side in net.side_predictions)
    net.eval()(signal, 0)
    assert net.side_predictions == ()


def test_a_new_task_leaves_the_old_ones_as_they_were_to_the_bit(
    case, axes, make_signal
):
    net = build(case, axes=axes)
    signal = make_signal(2, 1, *SHAPES[axes])
    before = [
        (fingerprint(net, task), net(signal, task_label))
        for task_label, task in enumerate(TASKS)
    ]
    label = net.add_task("gold")
    assert label == 3
    assert net.task_names == (*TASKS, "gold")
    for old, (digest, prediction) in enumerate(before):
        assert fingerprint(net, old) == digest
        assert torch.equal(net(signal, old), prediction)
    new = net(signal, label)
    assert new.shape == signal.shape
    assert new.isfinite().all()
    assert not any(torch.allclose(new, old) for _, old in before)
    assert fingerprint(net, "gold") not in [digest for digest, _ in before]


def test_a_new_task_can_be_trained(case, make_signal):
    net = build(case)
    label = net.add_task("gold")
    net.train()(make_signal(2, 1, 4, 8, 4), label).square().sum().backward()
    trained = {name for name, p in net.named_parameters() if p.grad is not None}
    own = {f"{what}_gold" for what in net.owned}
    foreign = {f"{what}_{task}" for what in net.owned for task in TASKS}
    assert trained
    for name, parameter in net.named_parameters():
        parts = set(name.split("."))
        if own & parts:
            assert parameter.requires_grad, name
            assert name in trained, name
        assert not (foreign & parts and name in trained), name


def test_a_new_task_adds_only_what_is_counted_as_its_own(case):
    net = build(case)
    before = {name: p.shape for name, p in net.named_parameters()}
    net.add_task("gold")
    after = dict(net.named_parameters())
    for name in after.keys() & before.keys():
        assert after[name].shape == before[name], name
    added = sum(after[name].numel() for name in after.keys() - before.keys())
    assert added == net.num_task_parameters("gold")


def test_kernels_are_channels_last_in_memory_also_those_added_later(case):
    net = build(case)
    net.add_task("gold")
    for name, p in net.named_parameters():
        if p.dim() == 5:
            assert p.is_contiguous(memory_format=torch.channels_last_3d), name


def test_the_architecture_is_json_and_rebuilds_the_network(case, axes, make_signal):
    net = build(case, axes=axes, in_channels=2, out_channels=3)
    net.add_task("gold")
    net.add_task("pink")
    text = json.dumps(net.architecture())
    other = rebuild(json.loads(text))
    assert type(other) is type(net)
    assert other.architecture() == net.architecture()
    assert other.task_names == (*TASKS, "gold", "pink")
    other.double().load_state_dict(net.state_dict())
    signal, labels = make_signal(5, 2, *SHAPES[axes]), torch.tensor([4, 0, 3, 1, 2])
    prediction = other.eval()(signal, labels)
    assert prediction.shape == (5, 3, *SHAPES[axes])
    assert torch.equal(prediction, net(signal, labels))


@pytest.mark.parametrize(
    "change",
    [
        {"colour": 1},
        {"extensions": [{"name": "gold", "colour": 1}]},
        {"extensions": [{"name": "red"}]},
        {"network": "UNet3d"},
    ],
)
def test_architectures_that_fit_no_network_are_refused(case, change):
    with pytest.raises(UserError):
        rebuild(build(case).architecture() | change)


def test_a_file_brings_the_network_back_to_the_bit(case, make_signal, tmp_path):
    net, path = build(case).train(), tmp_path / "net.safetensors"
    net.add_task("gold")
    save_model(net, path)
    state = torch.get_rng_state()
    loaded = load_model(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in loaded.modules())
    assert loaded.architecture() == net.architecture()
    assert loaded.state_dict().keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    signal, labels = make_signal(4, 1, 4, 8, 4), torch.tensor([3, 0, 2, 1])
    assert torch.equal(loaded(signal, labels), net.eval()(signal, labels))
    for task in net.task_names:
        assert fingerprint(loaded, task) == fingerprint(net, task)


def test_a_loaded_network_can_be_trained_and_grown(case, make_signal, tmp_path):
    path = tmp_path / "net.safetensors"
    save_model(build(case), path)
    net = load_model(path)
    label = net.add_task("gold")
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], 1e-3)
    before = tensors_of(net)
    net.train()(make_signal(2, 1, 4, 8, 4), label).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(t, before[n]) for n, t in net.state_dict().items())


@pytest.mark.parametrize("size", [(3, 6, 8), (4, 7, 5), (1, 1, 9)])
def test_other_sizes_are_mirrored_and_cropped_in_evaluation(case, make_signal, size):
    net, signal = build(case), make_signal(2, 1, *size)
    mirrored = signal
    for axis, side in enumerate(size, start=2):
        there_and_back = [*range(side), *reversed(range(side))] * 4
        index = torch.tensor(there_and_back[: side + -side % 4])
        mirrored = mirrored.index_select(axis, index)
    prediction = net(signal, torch.tensor([2, 0]))
    z, y, x = size
    expected = net(mirrored, torch.tensor([2, 0]))[..., :z, :y, :x]
    assert prediction.shape == signal.shape
    torch.testing.assert_close(prediction, expected)


def test_other_sizes_are_refused_in_training(case, make_signal):
    with pytest.raises(UserError, match=r"axis Y has size 6.*4"):
        build(case).train()(make_signal(2, 1, 4, 6, 8), 0)


def test_no_kernel_of_a_yx_network_extends_along_z(case):
    net = build(case, axes="YX")
    net.add_task("gold")
    assert net.divisor == (1, 4, 4)
    for name, parameter in net.named_parameters():
        if parameter.dim() == 5:
            assert parameter.shape[2] == 1, name


@pytest.mark.parametrize("task", ["gold", 3, -1])
def test_unknown_tasks_are_refused(case, task, make_signal):
    net = build(case)
    for ask in (net.task_name, net.task_state, net.num_task_parameters):
        with pytest.raises(UserError, match=r"unknown|out of range"):
            ask(task)
    with pytest.raises(UserError, match=r"unknown|out of range"):
        deploy(net, task)
    if isinstance(task, int):
        with pytest.raises(UserError, match=r"label -?\d is out of range"):
            net(make_signal(2, 1, 4, 8, 4), torch.tensor([0, task]))


@pytest.mark.parametrize(
    ("name", "message"),
    [("red", "exists already"), ("", "task name"), ("a.b", "task name")],
)
def test_taken_and_impossible_names_are_refused_and_nothing_changes(
    case, name, message
):
    net = build(case)
    architecture, before = net.architecture(), tensors_of(net)
    with pytest.raises(UserError, match=message):
        net.add_task(name)
    assert net.architecture() == architecture
    assert net.task_names == TASKS
    assert net.state_dict().keys() == before.keys()


def test_one_task_deployed_equals_the_network(case, make_signal):
    net = build(case)
    net.add_task("gold")
    signal = make_signal(2, 1, 3, 8, 5)
    for label, task in enumerate(net.task_names):
        torch.testing.assert_close(deploy(net, task)(signal), net(signal, label))


def test_a_network_can_be_copied_in_the_middle_of_training(case, make_signal):
    net, signal = build(case).train(), make_signal(2, 1, 4, 8, 4)
    net(signal, 1).sum().backward()
    other = copy.deepcopy(net)
    assert torch.equal(other.eval()(signal, 1), net.eval()(signal, 1))


@pytest.mark.parametrize("name", ["width", "depth", "in_channels", "out_channels"])
def test_sizes_must_be_positive(case, name):
    kind, options = CASES[case]
    with pytest.raises(UserError, match=f"{name} 0"):
        NETWORKS[kind](TASKS, **SMALL | options | {name: 0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task_names": []}, "task_names"),
        ({"task_names": ["red", "red"]}, "exists already"),
        ({"axes": "XY"}, "axes 'XY'"),
    ],
)
def test_wrong_arguments_are_refused(case, arguments, message):
    kind, options = CASES[case]
    with pytest.raises(UserError, match=message):
        NETWORKS[kind](**{"task_names": TASKS} | SMALL | options | arguments)


def test_unknown_kinds_are_refused():
    with pytest.raises(UserError, match=r"'VNet' is unknown.*RepModeUNet"):
        rebuild({"network": "VNet"})
