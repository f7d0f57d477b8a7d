"""What happens when a new task arrives: the strategies to choose from."""

from collections.abc import Sequence
from typing import Any

from continual_repmode.models import RepModeUNet
from continual_repmode.training._avalanche import CLExperience, SupervisedPlugin
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.plugins.stored_gates import StoredGatesPlugin
from continual_repmode.training.plugins.unchanged_tasks import UnchangedTasksPlugin
from continual_repmode.training.task_module import closest_task


class RepMode(DenseStrategy):
    """Learn base tasks jointly, then add tasks without touching what is there.

    The first experience trains shared experts, gates and everything else. Every later
    one freezes the network and adds to each MoDE block one expert and one gate for the
    new task (paper, Sec. 4.4 and Fig. 8). After each experience the gating weights are
    stored, and the old tasks are proved unchanged by comparing SHA-256 hashes of their
    parameters and of their output on a probe volume; a mismatch stops the run.

    Parameters
    ----------
    model : RepModeUNet
        Made with ``task_names=benchmark.base_tasks``.
    expert : str or None
        The new expert of each block, such as ``conv3`` (the paper's); ``None``: only a
        gate is added.
    private_bn : bool
        Give the new task batch-normalization layers of its own.
    use_extensions : bool
        Let the new task also use the experts added by earlier extensions.
    gate_init : str
        How the new gate starts: ``mean`` of the old gates, ``uniform``, the name of an
        old task, or ``closest`` (the old task that predicts the new data best).
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: RepModeUNet,
        expert: str | None = "conv3",
        private_bn: bool = False,
        use_extensions: bool = False,
        gate_init: str = "mean",
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        def grow(net: RepModeUNet, name: str, experience: CLExperience) -> None:
            closest = gate_init == "closest"
            start = closest_task(net, experience) if closest else gate_init
            net.add_task(
                name,
                expert=expert,
                private_bn=private_bn,
                use_extensions=use_extensions,
                gate_init=start,
            )

        self.proof = UnchangedTasksPlugin(required=True)
        own = [StoredGatesPlugin(), self.proof]
        super().__init__(model=model, grow=grow, plugins=[*own, *plugins], **loop)


class Naive(DenseStrategy):
    """Fine-tune everything on each experience: shows the forgetting to beat.

    A new task gets the same new expert and gate as in :class:`RepMode`, but nothing is
    frozen. The change of the old tasks is recorded, not refused.

    Parameters
    ----------
    model : RepModeUNet
        Made with ``task_names=benchmark.base_tasks``.
    expert : str or None
        The new expert of each block.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: RepModeUNet,
        expert: str | None = "conv3",
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        def grow(net: RepModeUNet, name: str, experience: CLExperience) -> None:
            net.add_task(name, expert=expert, freeze=False)

        self.proof = UnchangedTasksPlugin(required=False)
        super().__init__(model=model, grow=grow, plugins=[self.proof, *plugins], **loop)
