"""The trained network that a lab starts from."""

from pathlib import Path

import torch

from continual_repmode.errors import UserError
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.models import RepModeUNet
from continual_repmode.tasks import check_task_name
from continual_repmode.trained_model import TrainedModel


def open_base(path: Path, task: str, settings: ExtensionSettings) -> TrainedModel:
    """Read a network that can learn one more task.

    Raises UserError if the file is missing or damaged, its network cannot take new
        tasks or knows this one, the task's name or the expert is none, or another voxel
        size is asked for than the network was trained on.
    """
    base = TrainedModel.load(path)
    net = base.repmode()
    check_task_name(task)
    if task in net.task_names:
        raise UserError(
            f"{path}: knows {task} already, as one of {', '.join(net.task_names)}; "
            "give the new structure another name"
        )
    if net.private_bn and not settings.private_bn:
        raise UserError(
            f"{path}: each of its tasks has batch normalizations of its own, so a new "
            "one has, too; leave out --no-private-bn (in Python: private_bn=False)"
        )
    _try_to_grow(path, net, task, settings)
    return base.with_voxel_size(settings.voxel_size_um, "--voxel-size")


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
