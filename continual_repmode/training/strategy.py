"""What happens when a new task arrives: the strategies to choose from."""

from collections.abc import Sequence
from typing import Any

from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet, TaskNetwork
from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.methods.task_parts import FRESH, PartedNetwork
from continual_repmode.training.avalanche_api import CLExperience, SupervisedPlugin
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.plugins.stored_gates import StoredGatesPlugin
from continual_repmode.training.plugins.unchanged_tasks import UnchangedTasksPlugin
from continual_repmode.training.task_module import closest_task

CLOSEST = "closest"
"""A new task starts from the old one that predicts its data best."""


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
        How the new gate and normalization start: ``mean`` of the old ones, ``uniform``
        (the gate alone), the name of an old task, or ``closest`` (the old task that
        predicts the new data best).
    expert_init : {"random", "zero"}
        How the new expert starts; ``zero``: adding nothing.
    expert_mix : {"softmax", "additive"}
        Whether the new expert competes with the others, as in the paper, or is added to
        what the base experts make.
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
        expert_init: str = "random",
        expert_mix: str = "softmax",
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        def grow(names: Sequence[str], experience: CLExperience) -> None:
            known = model.task_names
            used = model.extended_tasks if use_extensions else ()
            model.freeze()
            for name in names:
                start = gate_init
                if start == CLOSEST:
                    start = closest_task(model, known, name, experience)
                model.add_task(
                    name,
                    expert=expert,
                    private_bn=private_bn,
                    use_extensions=used,
                    gate_init=start,
                    expert_init=expert_init,
                    expert_mix=expert_mix,
                    freeze=False,  # of the tasks that arrive together, all are learned
                )

        self.proof = UnchangedTasksPlugin(required=True)
        own = [StoredGatesPlugin(), self.proof]
        super().__init__(model=model, grow=grow, plugins=[*own, *plugins], **loop)


class Adapter(DenseStrategy):
    """Learn base tasks jointly, then adapt frozen plain convolutions to each new one.

    What RepMode is to be measured against. The first experience trains the network as
    it is. Every later one freezes it and gives each new task adapters, batch
    normalization and a last convolution of its own, beside the convolutions of a known
    task; see :class:`~continual_repmode.models.methods.adaptable.AdaptableNetwork`.
    That old tasks are unchanged is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : AdaptableNetwork
        Such as :class:`~continual_repmode.models.methods.multihead.MultiHeadUNet`, made
        with ``task_names=benchmark.base_tasks``.
    adapter : str
        Kind of the adapters: ``low_rankR`` with a number of channels R, ``residual``,
        ``grouped``, or ``none``: normalization and last convolution only. See
        :mod:`continual_repmode.models.adapters`.
    init : str
        The known task that a new one starts from: its name, or ``closest`` (the known
        task that predicts the new data best). Where all that a task has of its own is
        the last convolution, also ``fresh``: that one then starts at random.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: AdaptableNetwork,
        adapter: str = "low_rank4",
        init: str = CLOSEST,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        def grow(names: Sequence[str], experience: CLExperience) -> None:
            known = model.task_names
            model.freeze()
            for name in names:
                start = init
                if start == CLOSEST:
                    start = closest_task(model, known, name, experience)
                model.add_task(name, init=start, adapter=adapter)

        self.proof = UnchangedTasksPlugin(required=True)
        super().__init__(model=model, grow=grow, plugins=[self.proof, *plugins], **loop)


class Naive(DenseStrategy):
    """Fine-tune everything on each experience: shows the forgetting to beat.

    A new task gets what its network gives a task (a RepMode network the same new expert
    and gate as in :class:`RepMode`), but nothing is frozen. The change of the old tasks
    is recorded, not refused.

    With a plugin of :mod:`continual_repmode.training.plugins` this is any of the
    continual-learning baselines: ``Naive(model=net, plugins=[ReplayPlugin()])``. With
    a network of one decoder per task it is the fine-tuning of the paper's Table 3.

    Parameters
    ----------
    model : TaskNetwork
        Made with ``task_names=benchmark.base_tasks``.
    expert : str or None
        The new expert of each block, where the network is a :class:`RepModeUNet`.
    private_bn : bool
        Give the new task batch-normalization layers of its own, in such a network. Else
        its images move the running statistics that old tasks are predicted with, and
        no penalty on weights can hold these.
    expert_mix : {"softmax", "additive"}
        As in :class:`RepMode`, in such a network.
    init : str
        How the new task's part starts where the network is a :class:`PartedNetwork`:
        ``fresh``, as a copy of the part of an old task, given by name, or ``closest``
        (of the old task that predicts the new data best). Which of these the paper's
        fine-tuned Multi-Head did is unknown; ``fresh`` is our adaptation.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        expert: str | None = "conv3",
        private_bn: bool = False,
        expert_mix: str = "softmax",
        init: str = FRESH,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        options: dict[str, Any] = {}
        if isinstance(model, RepModeUNet):
            options = {
                "expert": expert,
                "private_bn": private_bn,
                "expert_mix": expert_mix,
                "freeze": False,
            }
        elif isinstance(model, PartedNetwork):
            options = {"init": init}

        def grow(names: Sequence[str], experience: CLExperience) -> None:
            known = model.task_names
            for name in names:
                if options.get("init") == CLOSEST:
                    start = closest_task(model, known, name, experience)
                    model.add_task(name, init=start)
                else:
                    model.add_task(name, **options)

        self.proof = UnchangedTasksPlugin(required=False)
        super().__init__(model=model, grow=grow, plugins=[self.proof, *plugins], **loop)


class Individual(DenseStrategy):
    """Train one network per task; those of old tasks are not touched.

    "Multi-Net, individual training" of the paper's Table 3. That old tasks stay as they
    are is proved as in :class:`RepMode`.

    Parameters
    ----------
    model : TaskNetwork
        One whose tasks share no parameter, such as
        :class:`~continual_repmode.models.methods.multinet.MultiNet`, made with
        ``task_names=benchmark.base_tasks``.
    plugins, **loop
        Arguments of :class:`DenseStrategy`.

    Raises
    ------
    UserError
        If the tasks of the network share parameters.
    """

    def __init__(
        self,
        *,
        model: TaskNetwork,
        plugins: Sequence[SupervisedPlugin] = (),
        **loop: Any,
    ) -> None:
        own = sum(model.num_task_parameters(task) for task in model.task_names)
        if own != model.num_parameters():
            raise UserError(
                f"individual training: the tasks of {type(model).__name__} share "
                "parameters; use a network per task (model=multinet or model=fnet)"
            )

        def grow(names: Sequence[str], _: CLExperience) -> None:
            model.requires_grad_(False)
            for name in names:
                model.add_task(name)

        self.proof = UnchangedTasksPlugin(required=True)
        super().__init__(model=model, grow=grow, plugins=[self.proof, *plugins], **loop)
