"""The 3D U-Net that every network here shares (paper Sec. 3.2).

The topology asks a *unit factory* for every convolution it needs and calls what it gets
as ``unit(features, groups)``. Plain units make the plain network; MoDE units make
RepMode; other task-conditioned networks bring units of their own.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import (
    ConvUnit,
    Role,
    UnitFactory,
    UnitSpec,
    plain_unit,
)
from continual_repmode.models.spatial import (
    Axes,
    Size3,
    check_divisible,
    crop_like,
    mirror_to_multiple,
    per_axis,
)
from continual_repmode.models.task_groups import TaskGroups


class EncoderLevel(nn.Module):
    """Two convolutions at one resolution, then halve it."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module, down: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.down = down

    def forward(
        self, features: Tensor, groups: TaskGroups | None
    ) -> tuple[Tensor, Tensor]:
        """Return the features of this level (the skip) and those for the next one."""
        skip = self.conv2(self.conv1(features, groups), groups)
        return skip, self.down(skip, groups)


class Bottleneck(nn.Module):
    """Two convolutions at the lowest resolution."""

    def __init__(self, conv1: nn.Module, conv2: nn.Module) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2

    def forward(self, features: Tensor, groups: TaskGroups | None) -> Tensor:
        """Map the features of the last encoder level to those of the first decoder."""
        refined: Tensor = self.conv2(self.conv1(features, groups), groups)
        return refined


class DecoderLevel(nn.Module):
    """Double the resolution, join the skip (skip first), then two convolutions."""

    def __init__(self, up: nn.Module, conv1: nn.Module, conv2: nn.Module) -> None:
        super().__init__()
        self.up = up
        self.conv1 = conv1
        self.conv2 = conv2

    def forward(
        self, features: Tensor, skip: Tensor, groups: TaskGroups | None
    ) -> Tensor:
        """Map the features from below and the skip to the features of this level."""
        features = torch.cat([skip, self.up(features, groups)], dim=1)
        refined: Tensor = self.conv2(self.conv1(features, groups), groups)
        return refined


class UNet3d(nn.Module):
    """A 3D U-Net over any kind of convolution unit.

    Level ``i`` of ``depth`` has ``width * 2**(i - 1)`` channels; ``decoder<i>`` works
    at the resolution of ``encoder<i>``, so the decoders run from ``decoder<depth>`` to
    ``decoder1``.

    Parameters
    ----------
    width : int
        Channels of the first level.
    depth : int
        Number of times the resolution is halved.
    in_channels, out_channels : int
    axes : {"ZYX", "YX"}
        ``"YX"``: kernels and sampling leave Z alone.
    unit : callable from UnitSpec to nn.Module
        Builds each unit; plain 5x5x5 convolutions by default.
    """

    bottleneck: Bottleneck
    output: nn.Module

    def __init__(
        self,
        width: int = 32,
        depth: int = 4,
        in_channels: int = 1,
        out_channels: int = 1,
        axes: Axes = "ZYX",
        unit: UnitFactory = plain_unit,
    ) -> None:
        super().__init__()
        for name, value in {
            "width": width,
            "depth": depth,
            "in_channels": in_channels,
            "out_channels": out_channels,
        }.items():
            if value < 1:
                raise UserError(f"{name} {value}: use a positive number")
        self.width = width
        self.depth = depth
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.axes: Axes = axes
        for name, module in self._levels(unit):
            self.add_module(name, module)
        self.to(memory_format=torch.channels_last_3d)

    @property
    def divisor(self) -> Size3:
        """What the sides (Z, Y, X) of a training patch must be multiples of."""
        return per_axis(2**self.depth, self.axes)

    def forward(self, signal: Tensor, groups: TaskGroups | None = None) -> Tensor:
        """Predict from a signal of any size (training mode: of divisible size).

        In evaluation mode a side that is not a multiple of its divisor is extended by
        mirroring at its far end, and the prediction is cropped back.

        Parameters
        ----------
        signal : Tensor, shape (B, C_in, Z, Y, X)
        groups : TaskGroups or None
            Handed to every unit; the samples must be sorted accordingly.

        Returns
        -------
        Tensor, shape (B, C_out, Z, Y, X)

        Raises
        ------
        UserError
            If the shape is not as above, or in training mode does not divide.
        """
        features, skips = self.encode(self.prepare(signal), groups)
        prediction: Tensor = self.output(self.decode(features, skips, groups), groups)
        return crop_like(prediction, signal)

    def prepare(self, signal: Tensor) -> Tensor:
        """Check a signal and bring it to sides that divide, channels last in memory.

        Raises
        ------
        UserError
            As for :meth:`forward`.
        """
        self._check(signal)
        if self.training:
            check_divisible(signal, self.divisor)
        features = mirror_to_multiple(signal, self.divisor)
        return features.to(memory_format=torch.channels_last_3d)  # 2-4x on CPU

    def encode(
        self, signal: Tensor, groups: TaskGroups | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the bottleneck features and the skips, from ``encoder1`` down."""
        skips: list[Tensor] = []
        features = signal
        for level in range(1, self.depth + 1):
            skip, features = self.get_submodule(f"encoder{level}")(features, groups)
            skips.append(skip)
        return self.bottleneck(features, groups), skips

    def decode(
        self, features: Tensor, skips: list[Tensor], groups: TaskGroups | None = None
    ) -> Tensor:
        """Return the features of ``decoder1``, which the output unit predicts from."""
        for level, skip in reversed(list(enumerate(skips, start=1))):
            features = self.get_submodule(f"decoder{level}")(features, skip, groups)
        return features

    def units(self) -> Iterator[tuple[str, nn.Module]]:
        """Iterate over (name, unit) in the order in which a signal passes them."""
        for level_name, level in self.named_children():
            if level_name == "output":
                yield level_name, level
            else:
                for name, unit in level.named_children():
                    yield f"{level_name}.{name}", unit

    def _levels(self, unit: UnitFactory) -> Iterator[tuple[str, nn.Module]]:
        def make(
            name: str, role: Role, inputs: int, outputs: int, level: int
        ) -> nn.Module:
            return unit(UnitSpec(name, role, inputs, outputs, self.axes, level))

        channels = [self.in_channels] + [self.width << i for i in range(self.depth + 1)]
        for i in range(1, self.depth + 1):
            name, below, here = f"encoder{i}", channels[i - 1], channels[i]
            yield (
                name,
                EncoderLevel(
                    make(f"{name}.conv1", "conv", below, here, i),
                    make(f"{name}.conv2", "conv", here, here, i),
                    make(f"{name}.down", "down", here, here, i + 1),
                ),
            )
        name, below, here = "bottleneck", channels[-2], channels[-1]
        yield (
            name,
            Bottleneck(
                make(f"{name}.conv1", "conv", below, here, self.depth + 1),
                make(f"{name}.conv2", "conv", here, here, self.depth + 1),
            ),
        )
        for i in range(self.depth, 0, -1):
            name, here = f"decoder{i}", channels[i]
            yield (
                name,
                DecoderLevel(
                    make(f"{name}.up", "up", 2 * here, here, i),
                    make(f"{name}.conv1", "conv", 2 * here, here, i),
                    make(f"{name}.conv2", "conv", here, here, i),
                ),
            )
        yield "output", make("output", "output", self.width, self.out_channels, 1)

    def _check(self, signal: Tensor) -> None:
        shape, channels = signal.shape, self.in_channels
        if signal.ndim != 5 or shape[1] != channels or 0 in shape[2:]:
            raise UserError(
                f"signal has shape {tuple(shape)}; expected (B, {channels}, Z, Y, X) "
                "with no empty axis"
            )


def plain_units(unet: UNet3d) -> dict[str, ConvUnit]:
    """Return the plain units of a U-Net by name, in the order a signal passes them."""
    return {n: unit for n, unit in unet.units() if isinstance(unit, ConvUnit)}
