"""A trained network with what is known about it, ready to predict task by task."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.inference.windows import Size3
from continual_repmode.models.deploy import deploy
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import load_model, read_card
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import Order, Preparation, VoxelSizeUm
from continual_repmode.volumes.resampling import ResizeMethod

Precision = Literal["float32", "bfloat16"]

DEFAULT_WINDOW: Size3 = (32, 128, 128)
"""Window of a model that does not tell the one it was tested with; the paper's."""


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A network and its card.

    Attributes
    ----------
    net : TaskNetwork
    card : ModelCard
    name : str
        Of the file; for messages and for the metadata of what is predicted.
    sha256 : str
        Of the file, or of the tensors of a network that came from none.
    """

    net: TaskNetwork
    card: ModelCard
    name: str
    sha256: str

    @classmethod
    def of(cls, net: TaskNetwork, card: ModelCard) -> Self:
        """Take a network that is in memory."""
        digest = hashlib.sha256(repr(net.architecture()).encode())
        for name, tensor in net.state_dict().items():
            plain = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(name.encode())
            digest.update(plain.numpy().data)
        return cls(net, card, "network", digest.hexdigest())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model file.

        Raises
        ------
        UserError
            If the file is missing, broken, or does not hold a network.
        """
        path = Path(path)
        net, card = load_model(path), read_card(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(net, card, path.name, sha256)

    def choose_tasks(self, tasks: str | Sequence[str]) -> tuple[str, ...]:
        """Return the names of tasks, each once.

        Parameters
        ----------
        tasks : str or sequence of str
            Names, ``"all"``, or names with commas between them.

        Raises
        ------
        UserError
            If the network does not know one of them; lists those that it knows.
        """
        names = tasks.split(",") if isinstance(tasks, str) else list(tasks)
        names = [name.strip() for name in names]
        if names == ["all"]:
            return self.net.task_names
        unknown = [name for name in names if name not in self.net.task_names]
        if unknown or not names:
            raise UserError(
                f"tasks={unknown[0] if unknown else ''!r}: {self.name} knows "
                f"{', '.join(self.net.task_names)}; give some of these, or all"
            )
        return tuple(dict.fromkeys(names))

    def preparation(self, voxel_size_um: VoxelSizeUm | None = None) -> Preparation:
        """Return how a signal comes onto the model grid, as in training.

        Parameters
        ----------
        voxel_size_um : tuple of float, optional
            Voxel size (z, y, x) of the model grid, for a card that does not tell it.

        Raises
        ------
        UserError
            If nothing tells the voxel size of the model grid, or both do and differ.
        """
        known = self.card.voxel_size_um
        if known is None and voxel_size_um is None:
            raise UserError(
                f"{self.name}: does not tell the voxel size it was trained at; give it "
                "in micrometres with --model-voxel-size Z Y X (in Python: "
                "model_voxel_size_um=)"
            )
        if known is not None and voxel_size_um not in (None, known):
            raise UserError(
                f"--model-voxel-size {format_um(voxel_size_um)}: {self.name} was "
                f"trained at {format_um(known)} um; leave the option out (in Python: "
                "model_voxel_size_um=)"
            )
        grid_um = known or voxel_size_um
        assert grid_um is not None
        return Preparation(
            voxel_size_um=grid_um,
            resize=self._resize(),
            order=self._order(),
            storage="float32",
        )

    def _resize(self) -> ResizeMethod:
        match self.card.resize:
            case None | "paper":
                return "paper"
            case "fast":
                return "fast"
            case other:
                raise UserError(f"{self.name}: unknown way to resize {other!r}")

    def _order(self) -> Order:
        match self.card.order:
            case None | "zscore_first":
                return "zscore_first"
            case "resize_first":
                return "resize_first"
            case other:
                raise UserError(f"{self.name}: unknown order {other!r}")

    def target_intensity(self, task: str) -> Intensity:
        """Return mean and deviation of the task's training targets, in camera counts.

        Raises
        ------
        UserError
            If the card does not know them.
        """
        known = self.card.task(task)
        if known.target_mean is None or known.target_std is None:
            raise UserError(
                f"intensity='target': {self.name} does not know the intensities of "
                f"{task!r} in training; use zscore"
            )
        return Intensity(known.target_mean, known.target_std)

    def predictor(
        self, task: str, precision: Precision, device: torch.device
    ) -> "TaskPredictor":
        """Return what predicts windows of one task; the network stays where it is."""
        network = deploy(self.net, task).eval()
        if next(network.parameters()).device != device:
            network = copy.deepcopy(network).to(device)
        return TaskPredictor(network, precision)


class TaskPredictor:
    """Predicts windows (B, 1, z, y, x) of one task, in a precision.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    precision : {"float32", "bfloat16"}
        Of convolutions; what comes out is float32.
    """

    def __init__(self, network: nn.Module, precision: Precision) -> None:
        self._network = network
        self._reduced = precision == "bfloat16"

    def __call__(self, windows: Tensor) -> Tensor:
        """Predict windows, without gradients."""
        with (
            torch.no_grad(),
            torch.autocast(windows.device.type, torch.bfloat16, enabled=self._reduced),
        ):
            predicted: Tensor = self._network(windows)
        return predicted.float()


def format_um(size_um: Sequence[float]) -> str:
    """Return lengths as the command line takes them."""
    return " ".join(f"{um:g}" for um in size_um)
