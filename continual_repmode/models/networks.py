"""Which task-conditioned networks there are, by the name a model file gives them."""

from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.models.methods.condnet import CondNet
from continual_repmode.models.methods.dodnet import DoDNet
from continual_repmode.models.methods.multihead import MultiHeadUNet
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.methods.pipofan import PipoFan
from continual_repmode.models.methods.tgnet import TGNet
from continual_repmode.models.methods.tsn import TaskSwitchingUNet
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_network import TaskNetwork

NETWORKS: dict[str, type[TaskNetwork]] = {
    network.__name__: network
    for network in (
        RepModeUNet,
        MultiNet,
        MultiHeadUNet,
        CondNet,
        TaskSwitchingUNet,
        PipoFan,
        DoDNet,
        TGNet,
    )
}


def rebuild(architecture: dict[str, Any]) -> TaskNetwork:
    """Build the network that :meth:`TaskNetwork.architecture` described.

    Raises
    ------
    UserError
        If the kind of network is unknown or the description incomplete.
    """
    name = architecture.get("network")
    if name not in NETWORKS:
        raise UserError(
            f"architecture: network {name!r} is unknown to this version; it knows "
            f"{', '.join(NETWORKS)}"
        )
    return NETWORKS[name].from_architecture(architecture)
