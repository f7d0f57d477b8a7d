"""What predicts one task fastest, for any network."""

from torch import Tensor, nn

from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.reparameterize import reparameterize
from continual_repmode.models.repmode import RepModeUNet
from continual_repmode.models.task_network import TaskNetwork


class OneTask(nn.Module):
    """A network with the task fixed, in evaluation mode.

    ``net``: shared, not copied.
    """

    def __init__(self, net: TaskNetwork, task: str | int) -> None:
        super().__init__()
        self.net = net
        self.label = net.task_label(net.task_name(task))
        self.eval()

    def forward(self, signal: Tensor) -> Tensor:
        """Predict (B, C_out, Z, Y, X) from a signal (B, C_in, Z, Y, X)."""
        prediction: Tensor = self.net(signal, self.label)
        return prediction


def deploy(net: TaskNetwork, task: str | int) -> nn.Module:
    """Return a network of one task: re-parameterized where that takes parts away.

    That is with experts, and with adapters that equal a kernel.

    Raises UserError if the network does not know the task.
    """
    if isinstance(net, RepModeUNet) and net.gate_input == "task":
        return reparameterize(net, task)
    if isinstance(net, AdaptableNetwork) and net.has_parallel_adapters(task):
        return reparameterize(net, task)
    return OneTask(net, task)
