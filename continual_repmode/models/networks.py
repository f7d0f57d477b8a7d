"""Which networks there are, by the name a model file gives them."""

from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.models.model_config import ModelConfig
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.offers import offers


def network_class(name: str) -> type[TaskNetwork]:
    """Return the class that model files call by this name.

    Packages of others are looked at only for a name that is not ours.

    Raises UserError if there is none, or a package that may have it cannot be used.
    """
    known: list[str] = []
    for offer in offers("networks").values():
        network: type[TaskNetwork] = offer.load(ModelConfig).network
        if network.__name__ == name:
            return network
        known.append(network.__name__)
    raise UserError(
        f"architecture: network {name!r} is unknown to this version; it knows "
        f"{', '.join(dict.fromkeys(known))}"
    )


def rebuild(architecture: dict[str, Any]) -> TaskNetwork:
    """Build the network that :meth:`TaskNetwork.architecture` described.

    Raises UserError if the kind of network is unknown or the description incomplete.
    """
    network = network_class(str(architecture.get("network")))
    return network.from_architecture(architecture)
