"""One model file, opened: the network, its card, and the identity of both."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn

from continual_repmode.data.signals import Look
from continual_repmode.data.unlikeness import unlikeness
from continual_repmode.errors import UserError
from continual_repmode.files import sha256_of
from continual_repmode.inference.windows import FAST_OVERLAP, Overlap
from continual_repmode.models import (
    ModelCard,
    RepModeUNet,
    TaskNetwork,
    deploy,
    load_model,
    read_card,
)
from continual_repmode.models.fingerprint import sha256_of_tensors
from continual_repmode.models.model_file import read_structure
from continual_repmode.paths import user_path
from continual_repmode.tasks import meant_task
from continual_repmode.volumes.normalization import Intensity
from continual_repmode.volumes.preparation import Order, Preparation, VoxelSizeUm
from continual_repmode.volumes.resampling import ResizeMethod
from continual_repmode.volumes.volume import DEFAULT_WINDOW, Size3

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class TrainedModel:
    """A network and its card.

    Attributes
    ----------
    net : TaskNetwork
    card : ModelCard
    path : Path or None
        Of the file; None for a network that came from none.
    """

    net: TaskNetwork
    card: ModelCard
    path: Path | None = None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a model file; the network is on the CPU, in evaluation mode.

        Raises
        ------
        UserError
            If the file is missing, broken, or does not hold a network.
        """
        path = user_path(path)
        return cls(load_model(path), read_card(path), path)

    @classmethod
    def outline(cls, path: str | Path) -> Self:
        """Read the header of a model file; the network has no values (device meta).

        Raises
        ------
        UserError
            As for :meth:`load`.
        """
        path = user_path(path)
        return cls(read_structure(path), read_card(path), path)

    @classmethod
    def opened(cls, model: "str | Path | TrainedModel") -> "TrainedModel":
        """Return a model: itself, or read from its file as by :meth:`load`."""
        return model if isinstance(model, TrainedModel) else cls.load(model)

    @property
    def name(self) -> str:
        """Name of the file, for messages and for the metadata of what it predicts."""
        return "network" if self.path is None else self.path.name

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, or of the structure and tensors of the network."""
        if self.path is not None:
            return sha256_of(self.path)
        tensors = sha256_of_tensors(self.net.state_dict())
        text = f"{self.net.architecture()!r} {tensors}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def window(self) -> Size3:
        """Prediction window (z, y, x) that the network was tested with, in voxels."""
        return self.card.window or DEFAULT_WINDOW

    @property
    def overlap(self) -> Overlap:
        """Overlap of windows that the network was tested with.

        Files before version 4 do not have it; they are predicted with
        :data:`~continual_repmode.inference.windows.FAST_OVERLAP`, as ever.
        """
        return self.card.overlap or FAST_OVERLAP

    def repmode(self) -> RepModeUNet:
        """Return the network, if it is one that keeps old tasks unchanged.

        Raises
        ------
        UserError
            If it is of another kind.
        """
        if not isinstance(self.net, RepModeUNet):
            raise UserError(
                f"{self.path or self.name}: holds a {type(self.net).__name__}; only "
                "RepMode networks can be extended and merged with old tasks unchanged"
            )
        return self.net

    def choose_tasks(self, tasks: str | Sequence[str]) -> tuple[str, ...]:
        """Return the names of tasks, each once.

        Parameters
        ----------
        tasks : str or sequence of str
            Names, also as tables print them and in any case; ``"all"``; or names with
            commas between them.

        Raises
        ------
        UserError
            If the network does not know one of them; lists those that it knows.
        """
        names = tasks.split(",") if isinstance(tasks, str) else list(tasks)
        names = [meant_task(name.strip(), self.net.task_names) for name in names]
        if names == ["all"]:
            return self.net.task_names
        unknown = [name for name in names if name not in self.net.task_names]
        if unknown or not names:
            raise UserError(
                f"tasks={unknown[0] if unknown else ''!r}: {self.name} knows "
                f"{', '.join(self.net.task_names)}; give some of these, or all"
            )
        return tuple(dict.fromkeys(names))

    def with_voxel_size(self, voxel_size_um: VoxelSizeUm | None, option: str) -> Self:
        """Return the model with the voxel size of its grid, where the card lacks it.

        Parameters
        ----------
        voxel_size_um : tuple of float or None
            Voxel size (z, y, x) of the model grid as a user gave it.
        option : str
            What the user calls it, for the message.

        Raises
        ------
        UserError
            If the card has another one.
        """
        known = self.card.voxel_size_um
        if voxel_size_um is None:
            return self
        z, y, x = voxel_size_um
        if known is None:
            return replace(self, card=replace(self.card, voxel_size_um=(z, y, x)))
        if known != (z, y, x):
            raise UserError(
                f"{option} {format_um(voxel_size_um)}: {self.name} was trained at "
                f"{format_um(known)} um and fits no other size; leave the option out"
            )
        return self

    def preparation(self) -> Preparation:
        """Return how a signal comes onto the model grid, as in training.

        Raises
        ------
        UserError
            If the card has no voxel size.
        """
        if self.card.voxel_size_um is None:
            raise UserError(
                f"{self.name}: has no voxel size of the model grid; give it in "
                "micrometres with --model-voxel-size Z Y X (in Python: "
                "model_voxel_size_um=)"
            )
        return Preparation(
            voxel_size_um=self.card.voxel_size_um,
            resize=self.resize,
            order=self.order,
            storage="float32",
        )

    @property
    def resize(self) -> ResizeMethod:
        """How volumes are resized onto the model grid."""
        match self.card.resize:
            case None | "paper":
                return "paper"
            case "fast":
                return "fast"
            case other:
                raise UserError(f"{self.name}: unknown way to resize {other!r}")

    @property
    def order(self) -> Order:
        """Whether volumes are z-scored before they are resized, or after."""
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

    def unlikeness(self, look: Look | None, tasks: Sequence[str]) -> str | None:
        """Say what distinguishes an image from the training images of some tasks.

        Parameters
        ----------
        look : Look or None
            Of the signal on the model grid.
        tasks : sequence of str

        Returns
        -------
        str or None
            A phrase with a number; None if nothing differs or the model does not know
            what its training images looked like.
        """
        found = {
            task: said
            for task in tasks
            if (said := unlikeness(look, self.card.task(task).signals))
        }
        if not found:
            return None
        (first, said), more = next(iter(found.items())), len(found) - 1
        others = f" and {more} more" if more else ""
        return f"unlike the training images of {first}{others} in {self.name}: {said}"

    def unlike_all(self, task: str, look: Look | None) -> str | None:
        """Say it of a task; of a new one, if the image is unlike those of all tasks."""
        if task in self.net.task_names:
            return self.unlikeness(look, [task])
        tasks = [t for t in self.net.task_names if self.card.task(t).signals]
        found = [self.unlikeness(look, [known]) for known in tasks]
        return found[0] if found and all(found) else None

    def check_finite(self) -> None:
        """Raise if the network has numbers that files cannot be predicted with.

        Raises
        ------
        UserError
            Naming the tensor.
        """
        for name, tensor in self.net.state_dict().items():
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise UserError(
                    f"{self.path or self.name}: {name} is {tensor.dtype}; only float32 "
                    "is predicted with: save network.float() in Python (and use "
                    "--precision bfloat16 for less memory)"
                )
            if not tensor.is_meta and not tensor.isfinite().all():
                raise UserError(
                    f"{self.path or self.name}: {name} holds NaN or infinity, so every "
                    "prediction would; take another checkpoint"
                )

    def predictor(
        self, task: str, precision: Precision, device: torch.device
    ) -> "TaskPredictor":
        """Return what predicts windows of one task; the network stays where it is."""
        network = deploy(self.net, task).eval()
        if next(network.parameters()).device != device:
            network = copy.deepcopy(network).to(device)
        return TaskPredictor(network, precision, task)


class TaskPredictor:
    """Predicts windows (B, 1, z, y, x) of one task, in a precision.

    ``network``: in evaluation mode.
    ``precision``: of convolutions; what comes out is float32.
    """

    def __init__(
        self, network: nn.Module, precision: Precision, task: str = ""
    ) -> None:
        self._network = network
        self._task = task
        self._reduced = precision == "bfloat16"

    def __call__(self, windows: Tensor) -> Tensor:
        """Predict windows, without gradients.

        Raises UserError if a prediction is not finite.
        """
        with (
            torch.no_grad(),
            torch.autocast(windows.device.type, torch.bfloat16, enabled=self._reduced),
        ):
            predicted: Tensor = self._network(windows)
        if not predicted.isfinite().all():
            raise UserError(
                f"task {self._task!r}: predicts NaN or infinity for values from "
                f"{float(windows.min()):g} to {float(windows.max()):g}; look at "
                "the image for single voxels that outshine all others, or use "
                "--precision float32"
            )
        return predicted.float()


def format_um(size_um: Sequence[float]) -> str:
    """Return lengths as the command line takes them."""
    return " ".join(f"{um:g}" for um in size_um)
