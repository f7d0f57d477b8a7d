"""What holds for every task-conditioned network, whatever its method."""

import copy
import functools
import json

import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models import deploy, fingerprint, load_model, save_model
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.models.networks import network_class, rebuild
from continual_repmode.offers import offers

TASKS = ("red", "green", "blue")

SMALL = {"width": 4, "depth": 2}

NAMES = [o.load(ModelConfig).network.__name__ for o in offers("networks").values()]
CASES = {name: (name, {}) for name in dict.fromkeys(NAMES)} | {
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
    net = network_class(name)(TASKS, **SMALL | options | dict(arguments)).double()
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


def tensors_of(net):
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


@pytest.mark.parametrize("axes", SHAPES)
def test_a_mixed_batch_equals_its_samples_one_by_one_and_tasks_differ(
    case, axes, make_signal
):
    net = build(case, axes=axes)
    signal, labels = make_signal(5, 1, *SHAPES[axes]), [1, 2, 1, 0, 2]
    mixed = net(signal, torch.tensor(labels, dtype=torch.uint8))
    assert mixed.shape == signal.shape
    for row, label in enumerate(labels):
        torch.testing.assert_close(mixed[row : row + 1], net(signal[row][None], label))
    predictions = [net(signal, label) for label in range(3)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(predictions[a], predictions[b]), (a, b)


def test_the_order_of_a_training_batch_does_not_matter(case, make_signal):
    net = build(case).train()
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
    assert bool(net.side_predictions) == (net.side_weight > 0)
    other = copy.deepcopy(net)  # in the middle of training
    assert torch.equal(other.eval()(signal, 1), net.eval()(signal, 1))
    assert net.side_predictions == ()


@pytest.mark.parametrize("axes", SHAPES)
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


@pytest.mark.parametrize("axes", SHAPES)
def test_a_new_task_adds_what_is_counted_as_its_own_and_kernels_fit_the_axes(
    case, axes
):
    net = build(case, axes=axes)
    before = {name: p.shape for name, p in net.named_parameters()}
    net.add_task("gold")
    after = dict(net.named_parameters())
    for name in after.keys() & before.keys():
        assert after[name].shape == before[name], name
    added = sum(after[name].numel() for name in after.keys() - before.keys())
    assert added == net.num_task_parameters("gold")
    assert net.divisor == ((1, 4, 4) if axes == "YX" else (4, 4, 4))
    for name, kernel in after.items():
        if kernel.dim() == 5:
            assert kernel.is_contiguous(memory_format=torch.channels_last_3d), name
            assert axes == "ZYX" or kernel.shape[2] == 1, name


def test_the_architecture_is_json_and_rebuilds_the_network(case, make_signal):
    for axes, shape in SHAPES.items():
        net = build(case, axes=axes, in_channels=2, out_channels=3)
        net.add_task("gold")
        net.add_task("pink")
        other = rebuild(json.loads(json.dumps(net.architecture())))
        assert type(other) is type(net)
        assert other.architecture() == net.architecture()
        assert other.task_names == (*TASKS, "gold", "pink")
        other.double().load_state_dict(net.state_dict())
        signal, labels = make_signal(5, 2, *shape), torch.tensor([4, 0, 3, 1, 2])
        prediction = other.eval()(signal, labels)
        assert prediction.shape == (5, 3, *shape)
        assert torch.equal(prediction, net(signal, labels))


def test_architectures_that_fit_no_network_are_refused(case):
    architecture = build(case).architecture()
    for change in (
        {"colour": 1},
        {"extensions": [{"name": "gold", "colour": 1}]},
        {"extensions": [{"name": "red"}]},
        {"network": "UNet3d"},
    ):
        with pytest.raises(UserError):
            rebuild(architecture | change)
    foreign = architecture | {"network": "UNet3d"}
    with pytest.raises(UserError, match=r"network 'UNet3d', not \w+"):
        network_class(architecture["network"]).from_architecture(foreign)


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


def test_a_new_task_of_a_loaded_network_can_be_trained(case, make_signal, tmp_path):
    save_model(build(case), tmp_path / "net.safetensors")
    net = load_model(tmp_path / "net.safetensors")
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


@pytest.mark.parametrize(
    "case", ["MultiNet", "MultiHeadUNet", "MultiHeadUNet-output", "PipoFan"]
)
def test_a_copied_part_predicts_the_same_and_a_fresh_one_does_not(case, make_signal):
    net, signal = build(case), make_signal(2, 1, 4, 8, 4)
    copied, fresh = net.add_task("gold", init="blue"), net.add_task("pink")
    assert torch.equal(net(signal, copied), net(signal, 2))
    assert not torch.allclose(net(signal, fresh), net(signal, 2))
    costs = {net.num_task_parameters(task) for task in net.task_names}
    assert len(costs) == 1


def test_other_sizes_are_mirrored_in_evaluation_and_refused_in_training(
    case, make_signal
):
    net, labels = build(case), torch.tensor([2, 0])
    for size in ((3, 6, 8), (4, 7, 5), (1, 1, 9)):
        mirrored = signal = make_signal(2, 1, *size)
        for axis, side in enumerate(size, start=2):
            there_and_back = [*range(side), *reversed(range(side))] * 4
            index = torch.tensor(there_and_back[: side + -side % 4])
            mirrored = mirrored.index_select(axis, index)
        z, y, x = size
        expected = net(mirrored, labels)[..., :z, :y, :x]
        torch.testing.assert_close(net(signal, labels), expected, msg=str(size))
    with pytest.raises(UserError, match=r"axis Y has size 6.*4"):
        net.train()(make_signal(2, 1, 4, 6, 8), 0)


def test_one_task_deployed_equals_the_network(case, make_signal):
    net = build(case)
    net.add_task("gold")
    signal = make_signal(2, 1, 3, 8, 5)
    for label, task in enumerate(net.task_names):
        torch.testing.assert_close(deploy(net, task)(signal), net(signal, label))


def test_unknown_tasks_are_refused(case, make_signal):
    net = build(case)
    for task in ("gold", 3, -1):
        for ask in (
            net.task_name,
            net.task_state,
            net.num_task_parameters,
            functools.partial(deploy, net),
        ):
            with pytest.raises(UserError, match=r"unknown|out of range"):
                ask(task)
        if isinstance(task, int):
            with pytest.raises(UserError, match=r"label -?\d is out of range"):
                net(make_signal(2, 1, 4, 8, 4), torch.tensor([0, task]))


def test_taken_and_impossible_names_are_refused_and_nothing_changes(case):
    net = build(case)
    architecture, before = net.architecture(), tensors_of(net)
    for name, message in (
        ("red", "exists already"),
        ("", "task name"),
        ("a.b", "task name"),
    ):
        with pytest.raises(UserError, match=message):
            net.add_task(name)
    assert net.architecture() == architecture
    assert net.task_names == TASKS
    assert net.state_dict().keys() == before.keys()


def test_wrong_arguments_are_refused(case):
    kind, options = CASES[case]
    sizes = ("width", "depth", "in_channels", "out_channels")
    for arguments, message in (
        *(({size: 0}, f"{size} 0") for size in sizes),
        ({"task_names": []}, "task_names"),
        ({"task_names": ["red", "red"]}, "exists already"),
        ({"axes": "XY"}, "axes 'XY'"),
    ):
        with pytest.raises(UserError, match=message):
            network_class(kind)(**{"task_names": TASKS} | SMALL | options | arguments)


def test_unknown_kinds_are_refused():
    with pytest.raises(UserError, match=r"'VNet' is unknown.*RepModeUNet"):
        rebuild({"network": "VNet"})
