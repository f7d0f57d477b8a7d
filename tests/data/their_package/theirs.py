"""A package of others: a strategy, a network, a reader and a metric."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from continual_repmode.checks import at_least, require, setting
from continual_repmode.errors import UserError
from continual_repmode.metrics.regression import Metric
from continual_repmode.models import TaskNetwork, plain_unit
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.training.strategies.naive import NaiveConfig

BIAS = Metric(
    "bias",
    "Bias",
    higher_is_better=False,
    measure=lambda prediction, target: abs(np.mean(prediction - target)),
)


@dataclass(kw_only=True, slots=True)
class TheirsConfig(NaiveConfig):
    """Fine-tune with small weights."""

    strength: float = setting(0.01, at_least(0))

    def plugins(self):
        return [SmallWeights(self.strength)]


class SmallWeights:
    def __init__(self, strength):
        self.strength = strength

    def before_backward(self, strategy, **_):
        squares = sum(weight.square().sum() for weight in strategy.net.parameters())
        strategy.loss = strategy.loss + self.strength * squares


class TheirNet(TaskNetwork):
    """One plain U-Net that is told no task."""

    def __init__(self, task_names, *, gain=1.0, **shape):
        super().__init__(task_names, {"gain": gain}, **shape)
        self.gain, self.unet = gain, self.build_unet(plain_unit)

    def run(self, signal, groups):
        return self.gain * self.unet(signal, groups)

    def _grow(self, name):
        pass


@dataclass(kw_only=True, slots=True)
class TheirNetConfig(ModelConfig):
    network: ClassVar = TheirNet

    gain: float = 1.0

    def __post_init__(self):
        ModelConfig.__post_init__(self)
        require(self.gain > 0, "model.gain", self.gain, "above 0")


@dataclass(frozen=True)
class TheirVolume:
    """A NumPy array (C, Z, Y, X) of two channels, whatever the name of its file."""

    path: object
    shape: tuple
    dtype: np.dtype
    axes = "CZYX"
    channel_names = ("Bright", "EGFP")
    voxel_size_um = (0.29, 0.29, 0.29)
    chosen = ()

    @classmethod
    def open(cls, path, choices):
        try:
            array = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise UserError(f"{path}: not one of our files; save it again") from error
        return cls(path, array.shape, array.dtype)

    @property
    def files(self):
        return (self.path,)

    def read_channel(self, channel, planes=slice(None)):
        names = self.channel_names
        index = names.index(channel) if isinstance(channel, str) else channel
        return np.load(self.path)[index, planes]
