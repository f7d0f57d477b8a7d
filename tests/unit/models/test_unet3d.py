from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from continual_repmode.errors import UserError
from continual_repmode.models import UNet3d, plain_unit


def test_plain_network_of_the_paper_has_the_published_size():
    for kernel_size, count in ((5, 100_152_768), (3, 23_276_864)):
        with torch.device("meta"):
            net = UNet3d(unit=partial(plain_unit, kernel_size=kernel_size))
        assert sum(p.numel() for p in net.parameters()) == count


def test_plain_network_is_the_topology_written_out(make_plain, make_signal):
    net = make_plain()
    t = {**dict(net.named_parameters()), **dict(net.named_buffers())}

    def cbr(place, x, conv=F.conv3d, **options):
        x = conv(x, t[f"{place}.conv.weight"], **options)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(t[f"{place}.norm.{key}"] for key in keys)))

    def pair(level, x):
        return cbr(f"{level}.conv2", cbr(f"{level}.conv1", x, padding=2), padding=2)

    signal = make_signal(2, 1, 4, 8, 8)
    first = pair("encoder1", signal)
    second = pair("encoder2", cbr("encoder1.down", first, stride=2))
    x = pair("bottleneck", cbr("encoder2.down", second, stride=2))
    x = cbr("decoder2.up", x, conv=F.conv_transpose3d, stride=2)
    x = pair("decoder2", torch.cat([second, x], 1))
    x = cbr("decoder1.up", x, conv=F.conv_transpose3d, stride=2)
    x = pair("decoder1", torch.cat([first, x], 1))
    expected = F.conv3d(x, t["output.conv.weight"], padding=2)
    torch.testing.assert_close(net(signal), expected)


def test_channels_double_per_level_and_the_factory_hears_every_place():
    specs = []

    def unit(spec):
        specs.append(spec)
        return plain_unit(spec, kernel_size=1)

    net = UNet3d(width=3, depth=2, in_channels=2, out_channels=5, axes="YX", unit=unit)
    heard = [(s.name, s.role, s.in_channels, s.out_channels) for s in specs]
    assert heard == [
        ("encoder1.conv1", "conv", 2, 3),
        ("encoder1.conv2", "conv", 3, 3),
        ("encoder1.down", "down", 3, 3),
        ("encoder2.conv1", "conv", 3, 6),
        ("encoder2.conv2", "conv", 6, 6),
        ("encoder2.down", "down", 6, 6),
        ("bottleneck.conv1", "conv", 6, 12),
        ("bottleneck.conv2", "conv", 12, 12),
        ("decoder2.up", "up", 12, 6),
        ("decoder2.conv1", "conv", 12, 6),
        ("decoder2.conv2", "conv", 6, 6),
        ("decoder1.up", "up", 6, 3),
        ("decoder1.conv1", "conv", 6, 3),
        ("decoder1.conv2", "conv", 3, 3),
        ("output", "output", 3, 5),
    ]
    assert [name for name, _ in net.units()] == [s.name for s in specs]
    assert {s.axes for s in specs} == {"YX"}


def test_units_receive_the_groups():
    seen = []

    class Recorder(nn.Module):
        def __init__(self, spec):
            super().__init__()
            self.unit = plain_unit(spec, kernel_size=1)

        def forward(self, features, groups):
            seen.append(groups)
            return self.unit(features)

    marker = object()
    UNet3d(width=1, depth=1, unit=Recorder)(torch.randn(2, 1, 4, 4, 4), marker)
    assert seen == [marker] * 9


def test_yx_network_keeps_slices_apart(make_plain, make_signal):
    net = make_plain(axes="YX")
    signal = make_signal(1, 1, 3, 8, 8)
    assert net.divisor == (1, 4, 4)
    for z in range(3):
        torch.testing.assert_close(
            net(signal)[:, :, z : z + 1], net(signal[:, :, z : z + 1])
        )


def test_wrong_signals_are_refused(make_plain, make_signal):
    net = make_plain()
    for shape in (
        (4, 4, 4), (1, 4, 4, 4), (1, 2, 4, 4, 4), (1, 1, 0, 4, 4),
    ):  # fmt: skip
        with pytest.raises(UserError, match=r"signal has shape .*\(B, 1, Z, Y, X\)"):
            net(torch.zeros(shape, dtype=torch.float64))
    assert net(make_signal(1, 1, 1, 1, 1)).shape == (1, 1, 1, 1, 1)
    assert net(make_signal(0, 1, 4, 4, 4)).shape == (0, 1, 4, 4, 4)
    with pytest.raises(UserError, match=r"axis Y has size 6.*4"):
        net.train()(make_signal(2, 1, 4, 6, 8))


def test_sizes_must_be_positive():
    for name in ("width", "depth", "in_channels", "out_channels"):
        with pytest.raises(UserError, match=f"{name} 0"):
            UNet3d(**{name: 0})
