"""The trained network that a lab starts from."""

from dataclasses import dataclass
from pathlib import Path

import torch

from continual_repmode.errors import UserError
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.models import RepModeUNet, load_model
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import read_card
from continual_repmode.tasks import check_task_name
from continual_repmode.training.base_model import sha256_of


@dataclass(frozen=True, slots=True)
class BaseNetwork:
    """A network read from a file, and what the file says about it."""

    path: Path
    sha256: str
    net: RepModeUNet
    card: ModelCard


def open_base(path: Path, task: str, settings: ExtensionSettings) -> BaseNetwork:
    """Read a network that can learn one more task.

    Parameters
    ----------
    path : Path
        A model file.
    task : str
        The structure to be added.
    settings : ExtensionSettings
        Says how.

    Raises
    ------
    UserError
        If the file is missing or damaged, its network cannot take new tasks or knows
        this one, the task's name or the expert is none, or another voxel size is asked
        for than the network was trained on.
    """
    net, card = load_model(path), read_card(path)
    if not isinstance(net, RepModeUNet):
        raise UserError(
            f"{path}: holds a {type(net).__name__}; only RepMode networks take new "
            "structures without changing the old ones"
        )
    check_task_name(task)
    if task in net.task_names:
        raise UserError(
            f"{path}: knows {task} already, as one of {', '.join(net.task_names)}; "
            "give the new structure another name"
        )
    _try_to_grow(path, net, task, settings)
    asked_um = settings.voxel_size_um
    if card.voxel_size_um and asked_um and tuple(asked_um) != card.voxel_size_um:
        raise UserError(
            f"voxel_size_um={list(asked_um)}: {path} was trained on voxels of "
            f"{list(card.voxel_size_um)} um and would not fit others; leave it out"
        )
    return BaseNetwork(path, sha256_of(path), net, card)


def _try_to_grow(
    path: Path, net: RepModeUNet, task: str, settings: ExtensionSettings
) -> None:
    """Let a network of the same structure, without values, take the task."""
    with torch.device("meta"):
        trial = RepModeUNet.from_architecture(net.architecture())
        try:
            trial.add_task(
                task,
                expert=settings.expert,
                private_bn=settings.private_bn,
                use_extensions=settings.use_extensions,
            )
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
