import pytest
import torch
import torch.nn.functional as F

from continual_repmode.models.methods.dodnet import DoDNet
from continual_repmode.models.methods.tgnet import ChannelGate, TGNet
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.tasks import TASKS as PAPER_TASKS

TASKS = ("red", "green", "blue")


def reference_gate(gate: ChannelGate, features: torch.Tensor, task: str):
    """W2 ReLU(W1 [GAP ; p]), sigmoid, for one sample (C, Z, Y, X)."""
    tensors = dict(gate.named_parameters())
    pooled = features.mean(dim=(1, 2, 3))
    hidden = tensors["squeeze.linear.weight"] @ pooled + tensors["squeeze.linear.bias"]
    hidden = (hidden + tensors[f"squeeze.column_{task}"]).clamp_min(0)
    logits = tensors["excite.weight"] @ hidden + tensors["excite.bias"]
    return 1 / (1 + (-logits).exp())


def normalized(features: torch.Tensor, norm: torch.nn.BatchNorm3d) -> torch.Tensor:
    """Batch normalization in training mode, by its formula."""
    mean = features.mean((0, 2, 3, 4), keepdim=True)
    variance = features.var((0, 2, 3, 4), unbiased=False, keepdim=True)
    scaled = (features - mean) / (variance + 1e-5).sqrt()
    shape = (1, -1, 1, 1, 1)
    return scaled * norm.weight.view(shape) + norm.bias.view(shape)


def test_extra_and_per_task_parameters():
    with torch.device("meta"):
        plain, net = DoDNet(), TGNet()
        extra = sum(p.numel() for p in net.parameters())
        extra -= sum(p.numel() for p in plain.parameters())
        gated = [32, 64, 128, 256, 512, 32, 64, 128, 256]
        gates = sum(c // 4 * (c + 12 + 1) + c * (c // 4 + 1) for c in gated)
        below = zip([1, 32, 64, 128, 256], [32, 64, 128, 256, 512], strict=True)
        assert extra == gates + sum(a * b + 2 * b for a, b in below) == 400_464
        assert {net.num_task_parameters(task) for task in PAPER_TASKS} == {521}
        net.add_task("thirteenth")
        assert net.num_task_parameters("thirteenth") == 521


def test_gate_is_a_factor_between_0_and_1_per_channel_and_sample():
    for channels in (1, 3, 8):
        torch.manual_seed(0)
        gate = ChannelGate(channels, TASKS).double()
        features = torch.randn(4, channels, 2, 3, 4, dtype=torch.float64)
        factors = gate(features, TaskGroups([0, 0, 1, 2], TASKS))
        assert factors.shape == (4, channels, 1, 1, 1)
        assert ((factors > 0) & (factors < 1)).all()
        for row, task in enumerate(("red", "red", "green", "blue")):
            expected = reference_gate(gate, features[row], task)
            torch.testing.assert_close(factors[row].flatten(), expected)


@pytest.mark.parametrize("axes", ["ZYX", "YX"])
def test_encoder_levels_and_bottleneck_are_gated_residual_blocks(axes):
    torch.manual_seed(0)
    net = TGNet(TASKS, kernel_size=3, axes=axes, width=4, depth=1).double().train()
    size, padding = ((3, 3, 3), 1) if axes == "ZYX" else ((1, 3, 3), (0, 1, 1))
    groups = TaskGroups([0, 2, 2], TASKS)
    for block, channels in ((net.unet.encoder1.block, 1), (net.unet.bottleneck, 4)):
        signal = torch.randn(3, channels, 2, 4, 4, dtype=torch.float64)
        actual = block(signal, groups)
        assert block.conv1.conv.kernel_size == block.conv2.conv.kernel_size == size
        u = F.conv3d(signal, block.conv1.conv.weight, padding=padding)
        u = normalized(u, block.conv1.norm).clamp_min(0)
        v = F.conv3d(u, block.conv2.conv.weight, padding=padding)
        v = normalized(v, block.conv2.norm)
        short = F.conv3d(signal, block.shortcut.conv.weight)
        short = normalized(short, block.shortcut.norm)
        for row, task in enumerate(("red", "blue", "blue")):
            g = reference_gate(block.gate, v[row], task)[:, None, None, None]
            expected = (g * v[row] + short[row]).clamp_min(0)
            torch.testing.assert_close(actual[row], expected)


def test_decoder_gets_gated_skips_and_the_level_below_ungated_ones():
    torch.manual_seed(0)
    net = TGNet(TASKS, kernel_size=3, width=4, depth=2).double().eval()
    seen = {}

    def keep(name, value):
        seen[name] = value

    for level in (1, 2):
        net.unet.get_submodule(f"encoder{level}").block.register_forward_hook(
            lambda *args, level=level: keep(f"features{level}", args[2])
        )
        net.unet.get_submodule(f"encoder{level}").down.register_forward_pre_hook(
            lambda _, args, level=level: keep(f"down{level}", args[0])
        )
        net.unet.get_submodule(f"decoder{level}").register_forward_pre_hook(
            lambda _, args, level=level: keep(f"skip{level}", args[1])
        )
    net(torch.randn(2, 1, 4, 4, 8, dtype=torch.float64), torch.tensor([0, 2]))
    for level in (1, 2):
        features = seen[f"features{level}"]
        assert torch.equal(seen[f"down{level}"], features)
        for row, task in enumerate(("red", "blue")):
            a = reference_gate(net.skip_gates[level - 1], features[row], task)
            expected = a[:, None, None, None] * features[row]
            torch.testing.assert_close(seen[f"skip{level}"][row], expected)


def test_new_task_gets_a_column_everywhere():
    net = TGNet(TASKS, kernel_size=3, width=4, depth=2)
    names = set(dict(net.named_parameters()))
    net.add_task("pink")
    new = set(dict(net.named_parameters())) - names
    reds = {name for name in names if name.endswith("column_red")}
    assert new == {name.replace("red", "pink") for name in reds}
