import pytest
import torch

from continual_repmode.errors import UserError
from continual_repmode.models.methods.tsn import SwitchedConv, TaskSwitchingUNet
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d

TASKS = ("red", "green", "blue")
SMALL = {"width": 2, "depth": 1, "kernel_size": 3, "entries_per_task": 2}


def num_parameters(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_extra_and_per_task_parameters():
    for entries, size in ((20, 240), (8, 96)):
        with torch.device("meta"):
            plain, net = UNet3d(), TaskSwitchingUNet(entries_per_task=entries)
        embedding = 8 * (size**2 + size) + 2 * 1_952 * (size + 1)
        extra = embedding + 350_176 + 960 - 1_920
        assert num_parameters(net) == num_parameters(plain) + extra
        assert {net.num_task_parameters(task) for task in net.task_names} == {0}


def test_codes_for_another_task_widen_all_layers():
    with torch.device("meta"):
        net, wider = TaskSwitchingUNet(), TaskSwitchingUNet(max_tasks=13)
    widened = 8 * (2 * 240 * 20 + 20**2 + 20) + 2 * 1_952 * 20
    assert num_parameters(wider) == num_parameters(net) + widened


def test_head_per_task_costs_one_output_convolution():
    with torch.device("meta"):
        net = TaskSwitchingUNet(head="per_task", max_tasks=13)
        net.add_task("thirteenth")
    assert {net.num_task_parameters(task) for task in net.task_names} == {4_000}


def test_decoder_and_skips_are_switched_and_nothing_else():
    net = TaskSwitchingUNet(TASKS, width=2, depth=2, entries_per_task=1)
    switched = {n for n, m in net.named_modules() if isinstance(m, SwitchedConv)}
    convs = {f"unet.decoder{i}.conv{j}" for i in (1, 2) for j in (1, 2)}
    assert switched == convs | {"skip_filters.0", "skip_filters.1", "bottleneck_filter"}
    assert {net.get_submodule(name).conv.kernel_size for name in convs} == {(5, 5, 5)}
    for name in switched - convs:
        assert net.get_submodule(name).conv.kernel_size == (1, 1, 1)
    norms = {n for n, m in net.named_modules() if isinstance(m, TaskNorm)}
    assert {name for name in norms if "decoder" in name} == {
        "unet.decoder1.up.norm",
        "unet.decoder2.up.norm",
    }


def test_the_encoder_does_not_know_the_task():
    torch.manual_seed(0)
    net = TaskSwitchingUNet(TASKS, **SMALL).eval()
    seen = []
    net.unet.bottleneck.register_forward_hook(lambda *args: seen.append(args[2]))
    signal = torch.randn(1, 1, 4, 4, 4)
    red, green = net(signal, 0), net(signal, 1)
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(red, green)


def test_smallest_patch_can_be_trained_on():
    """At depth 1 a patch of 2 voxels per side is one voxel at the bottleneck."""
    for samples in (1, 2):
        torch.manual_seed(0)
        net = TaskSwitchingUNet(TASKS, **SMALL).train()
        for norm in net.modules():  # batch normalization refuses one value per channel
            if isinstance(norm, TaskNorm) and samples == 1:
                norm.freeze()
        net(torch.randn(samples, 1, 2, 2, 2), 1).sum().backward()
        assert net.bottleneck_filter.film.weight.grad is not None


def test_identity_start_makes_all_tasks_alike():
    torch.manual_seed(0)
    net = TaskSwitchingUNet(TASKS, **SMALL, film_init="identity").eval()
    signal = torch.randn(1, 1, 4, 4, 4)
    assert torch.equal(net(signal, 0), net(signal, 2))


def test_new_task_gets_a_code_of_its_own_that_is_saved_and_changes_nothing_else():
    for codes in ("orthogonal", "gaussian"):
        torch.manual_seed(0)
        net = TaskSwitchingUNet(TASKS, **SMALL, codes=codes, max_tasks=4).eval()
        signal, labels = torch.randn(4, 1, 4, 4, 4), torch.arange(4)
        before = net(signal[:3], labels[:3])
        assert net.add_task("pink") == 3
        assert torch.equal(net(signal[:3], labels[:3]), before)
        assert "embedding.code_pink" in net.task_state("pink")
        assert "embedding.code_pink" not in net.task_state("red")
        rebuilt = TaskSwitchingUNet.from_architecture(net.architecture()).eval()
        rebuilt.load_state_dict(net.state_dict())
        assert torch.equal(rebuilt(signal, labels), net(signal, labels)), codes


def test_more_tasks_than_codes_are_refused():
    with pytest.raises(UserError, match="max_tasks 2: no codes for 3 tasks; build"):
        TaskSwitchingUNet(TASKS, **SMALL, max_tasks=2)
    net = TaskSwitchingUNet(TASKS, **SMALL, max_tasks=3, head="per_task")
    names = set(net.state_dict())
    with pytest.raises(UserError, match="max_tasks of at least 4"):
        net.add_task("pink")
    with pytest.raises(UserError, match="max_tasks of at least 4"):
        net.add_task("pink", init="red")
    assert set(net.state_dict()) == names
    assert net.task_names == TASKS


def test_unknown_option_is_refused():
    for options, message in (
        ({"codes": "random"}, "codes 'random': use 'orthogonal' or 'gaussian'"),
        ({"film_init": "zero"}, "film_init 'zero': use 'published' or 'identity'"),
        ({"head": "own"}, "head 'own': use 'shared' or 'per_task'"),
        ({"entries_per_task": 0}, "entries_per_task 0: use a positive number"),
    ):
        with pytest.raises(UserError, match=message):
            TaskSwitchingUNet(TASKS, **(SMALL | options))


def test_a_refused_start_of_the_head_changes_nothing():
    net = TaskSwitchingUNet(TASKS, **SMALL, max_tasks=4, head="per_task")
    names = set(net.state_dict())
    with pytest.raises(UserError, match="init 'gray'"):
        net.add_task("pink", init="gray")
    assert set(net.state_dict()) == names
    net.add_task("pink", init="red")
    assert net.task_names[-1] == "pink"
