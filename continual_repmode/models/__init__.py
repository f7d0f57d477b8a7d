"""The networks: plain PyTorch, usable without anything else of this package."""

from continual_repmode.models.conv_units import (
    ConvUnit,
    UnitSpec,
    build_conv,
    plain_unit,
)
from continual_repmode.models.deploy import deploy
from continual_repmode.models.experts import EXPERTS
from continual_repmode.models.fingerprint import (
    TaskFingerprint,
    fingerprint,
    fingerprints,
)
from continual_repmode.models.gating import GatingTable
from continual_repmode.models.mode_conv import MoDEBlock, MoDEConv
from continual_repmode.models.model_card import ModelCard, TaskCard
from continual_repmode.models.model_file import (
    load_model,
    read_card,
    read_model_header,
    save_model,
)
from continual_repmode.models.reparameterize import MergedTasks, reparameterize
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_groups import TaskGroups, group_by_task
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d

__all__ = [
    "EXPERTS",
    "ConvUnit",
    "GatingTable",
    "MergedTasks",
    "MoDEBlock",
    "MoDEConv",
    "ModelCard",
    "RepModeUNet",
    "TaskCard",
    "TaskFingerprint",
    "TaskGroups",
    "TaskNetwork",
    "TaskNorm",
    "UNet3d",
    "UnitSpec",
    "build_conv",
    "deploy",
    "fingerprint",
    "fingerprints",
    "group_by_task",
    "load_model",
    "plain_unit",
    "read_card",
    "read_model_header",
    "reparameterize",
    "save_model",
]
