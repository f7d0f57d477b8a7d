"""What every task-conditioned network here is, whatever its method.

A network knows its tasks by name; the position of a name is the task label. It predicts
a batch that mixes tasks, may grow by a task, and can be rebuilt from a description.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypedDict

from torch import Tensor, nn
from torch.nn import Parameter

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitFactory
from continual_repmode.models.experts import LowRankExpert
from continual_repmode.models.feature_gating import FeatureGate
from continual_repmode.models.gating import TaskGate
from continual_repmode.models.spatial import Axes, Size3, per_axis
from continual_repmode.models.task_groups import TaskGroups, group_by_task
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.tasks import check_apart, check_task_name

RATE_KINDS = ("gates", "outer")
"""Kinds of parameters that may learn at a rate of their own."""


class Shape(TypedDict, total=False):
    """The extent of the U-Net that every network is built on."""

    #: Channels of the first level, 32 by default; each level below has twice as many.
    width: int
    #: Number of times the resolution is halved, 4 by default.
    depth: int
    #: 1 by default.
    in_channels: int
    out_channels: int
    #: ``"YX"``: kernels and sampling leave Z alone, for 2D images as Z = 1 stacks.
    axes: Axes


class TaskNetwork(nn.Module, ABC):
    """A U-Net whose prediction depends on the task of each sample.

    Modules, parameters and buffers that belong to one task are called
    ``<what>_<task>``, with ``<what>`` among :attr:`owned`.

    Parameters
    ----------
    task_names : sequence of str
        Names of the base tasks; a task label is a position in it.
    options : mapping
        Further arguments of the method, as plain JSON values; kept for
        :meth:`architecture`.
    width, depth, in_channels, out_channels, axes
        See :class:`Shape`.

    Attributes
    ----------
    task_options : tuple of str
        Options that :meth:`add_task` takes.
    side_predictions : tuple of Tensor, each of shape (B, C_out, Z, Y, X)
        Further predictions of the last batch in training mode, for deep supervision;
        empty for most methods.
    side_weight : float
        Weight of their mean loss, in addition to that of the prediction.
    """

    owned: ClassVar[tuple[str, ...]] = ()
    task_options: ClassVar[tuple[str, ...]] = ()
    reserved_names: ClassVar[tuple[str, ...]] = ()

    side_predictions: tuple[Tensor, ...] = ()
    side_weight: float = 0.0

    def __init__(
        self,
        task_names: Sequence[str],
        options: Mapping[str, Any],
        *,
        width: int = 32,
        depth: int = 4,
        in_channels: int = 1,
        out_channels: int = 1,
        axes: Axes = "ZYX",
    ) -> None:
        super().__init__()
        self._task_names: tuple[str, ...] = ()
        self._labels: dict[str, int] = {}
        #: Task by its name in any case; kept, as there may be hundreds.
        self._in_any_case: dict[str, str] = {}
        for name in task_names:
            self._check_new_name(name)
            self._labels[name] = len(self._labels)
        self._in_any_case |= {name.casefold(): name for name in self._labels}
        self._task_names = tuple(self._labels)
        if not self._task_names:
            raise UserError("task_names is empty; name at least one task")
        self.width, self.depth = width, depth
        self.in_channels, self.out_channels = in_channels, out_channels
        self.axes: Axes = axes
        self._options = dict(options)
        self._extensions: list[dict[str, Any]] = []
        self._num_frozen_tasks = 0

    @abstractmethod
    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task; shapes as for :meth:`forward`."""

    @abstractmethod
    def _grow(self, name: str, **options: Any) -> None:
        """Make what a new task needs; on a UserError nothing has changed."""

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks; the index is the task label."""
        return self._task_names

    @property
    def extended_tasks(self) -> tuple[str, ...]:
        """Names of the added tasks that have an expert of their own."""
        having = (e for e in self._extensions if e.get("expert") is not None)
        return tuple(e["name"] for e in having)

    @property
    def is_frozen(self) -> bool:
        """Whether :meth:`freeze` has fixed what the tasks share."""
        return self._num_frozen_tasks > 0

    @property
    def shares_parameters(self) -> bool:
        """Whether there are parameters that no single task has to itself."""
        own = sum(self.num_task_parameters(task) for task in self._task_names)
        return own != self.num_parameters()

    @property
    def divisor(self) -> Size3:
        """What the sides (Z, Y, X) of a training patch must be multiples of."""
        return per_axis(2**self.depth, self.axes)

    def forward(self, signal: Tensor, task_labels: Tensor | int) -> Tensor:
        """Predict the target of each sample's task.

        Parameters
        ----------
        signal : Tensor, shape (B, C_in, Z, Y, X)
            Transmitted light, normalized. In training mode the sides must be multiples
            of :attr:`divisor`; in evaluation mode others are mirrored at their far end
            and the prediction is cropped back.
        task_labels : Tensor of integers, shape (B,), or int
            Any mixture of tasks, or one label for all samples.

        Returns
        -------
        Tensor, shape (B, C_out, Z, Y, X)

        Raises
        ------
        UserError
            If a shape, a dtype or a label is not as above.
        """
        groups = group_by_task(
            task_labels, len(signal), self._task_names, shared=self.training
        )
        prediction = groups.unsort(self.run(groups.sort(signal), groups))
        self.side_predictions = tuple(map(groups.unsort, self.side_predictions))
        return prediction

    def task_label(self, name: str) -> int:
        """Return the label of a task.

        Raises
        ------
        UserError
            If this network does not know the task.
        """
        if name not in self._labels:
            raise UserError(
                f"task {name!r} is unknown to this network; it knows "
                f"{', '.join(self._task_names)}"
            )
        return self._labels[name]

    def task_name(self, task: str | int) -> str:
        """Return the name of a task given by name or label, checked like the label."""
        if isinstance(task, str):
            return self._task_names[self.task_label(task)]
        if not 0 <= task < len(self._task_names):
            raise UserError(
                f"task label {task} is out of range: this network knows "
                f"{len(self._task_names)} tasks"
            )
        return self._task_names[task]

    def add_task(self, name: str, **options: Any) -> int:
        """Extend the network by a task and return its label.

        Everything stays trainable: what protects the old tasks is up to the strategy.

        Parameters
        ----------
        name : str
            Name of the new task.
        **options
            Of the method, as plain JSON values.

        Raises
        ------
        UserError
            If the name is taken or not a name, or the method cannot take a new task.
            The network is then unchanged.
        TypeError
            If the method has no such option.
        """
        self._check_new_name(name)
        self._grow(name, **options)
        self._labels[name] = len(self._labels)
        self._in_any_case[name.casefold()] = name
        self._task_names += (name,)
        self._extensions.append({"name": name, **options})
        return self.task_label(name)

    def task_state(self, task: str | int) -> dict[str, Tensor]:
        """Return a copy of all tensors that decide the predictions of one task."""
        tensors = self.task_tensors(task)
        return {name: tensor.detach().clone() for name, tensor in tensors.items()}

    def task_tensors(self, task: str | int) -> dict[str, Tensor]:
        """Return the tensors of :meth:`task_state` themselves; tasks may share them."""
        task = self.task_name(task)
        foreign = {part for other in self._task_names for part in self._parts(other)}
        foreign -= self._used_parts(task)
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not foreign & set(name.split("."))
        }

    def num_parameters(self) -> int:
        """Count the parameters of the network, those that are stored for good too."""
        return sum(parameter.numel() for parameter in self.parameters())

    def num_task_parameters(self, task: str | int) -> int:
        """Count the parameters that one task has to itself."""
        own = self._parts(self.task_name(task))
        anyones = {part for other in self._task_names for part in self._parts(other)}
        count = 0
        for name, parameter in self.named_parameters():
            parts = [part for part in name.split(".") if part in anyones]
            if parts and parts[-1] in own:  # perhaps within a part of another task
                count += parameter.numel()
        return count

    def freeze(self) -> None:
        """Fix every task known so far for good.

        No parameter requires a gradient any more (gradients are dropped, so no
        optimizer moves them by weight decay), and batch normalization stays in
        evaluation mode. Predictions in evaluation mode remain the same to the bit.
        """
        for module in self.modules():
            if isinstance(module, TaskNorm):
                module.freeze()
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        self._num_frozen_tasks = len(self._task_names)

    def rate_kinds(self) -> dict[str, list[Parameter]]:
        """Return the parameters that may learn at a rate of their own, by kind.

        ``"gates"``: what gating weights are made of. ``"outer"``: the outer factors of
        low-rank kernels, which multiply the inner ones from the left.
        """
        found: dict[str, list[Parameter]] = {kind: [] for kind in RATE_KINDS}
        for module in self.modules():
            if isinstance(module, LowRankExpert):
                found["outer"].append(module.outer)
            elif isinstance(module, TaskGate | FeatureGate):
                found["gates"] += list(module.parameters())
        return found

    def architecture(self) -> dict[str, Any]:
        """Return what :meth:`from_architecture` needs, as plain JSON values."""
        frozen = {"num_frozen_tasks": self._num_frozen_tasks} if self.is_frozen else {}
        return {
            "network": type(self).__name__,
            "task_names": list(self._task_names[: -len(self._extensions) or None]),
            "width": self.width,
            "depth": self.depth,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "axes": self.axes,
            **self._options,
            "extensions": [dict(extension) for extension in self._extensions],
            **frozen,
        }

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any]) -> Self:
        """Build a network of the same structure, equally frozen, with fresh parameters.

        Raises
        ------
        UserError
            If the description is incomplete or of another kind of network.
        """
        try:
            return cls._built(dict(architecture))
        except (KeyError, TypeError) as error:
            raise UserError(
                f"architecture: missing or unknown entry ({error})"
            ) from None

    @classmethod
    def _built(cls, arguments: dict[str, Any]) -> Self:
        network = arguments.pop("network")
        extensions = [dict(extension) for extension in arguments.pop("extensions")]
        num_frozen_tasks = arguments.pop("num_frozen_tasks", 0)
        if network != cls.__name__:
            raise UserError(f"architecture: network {network!r}, not {cls.__name__}")
        net = cls(**arguments)
        for extension in extensions:
            if len(net.task_names) == num_frozen_tasks:
                net.freeze()
            net.add_task(**extension)
        if len(net.task_names) == num_frozen_tasks:
            net.freeze()
        return net

    def build_unet(self, unit: UnitFactory, out_channels: int | None = None) -> UNet3d:
        """Build a U-Net of this network's shape, perhaps with other output channels."""
        outputs = self.out_channels if out_channels is None else out_channels
        return UNet3d(
            self.width, self.depth, self.in_channels, outputs, self.axes, unit
        )

    def _parts(self, task: str) -> set[str]:
        return {f"{what}_{task}" for what in self.owned}

    def _used_parts(self, task: str) -> set[str]:
        """Return the names of what belongs to single tasks and a task uses."""
        return self._parts(task)

    def _check_new_name(self, name: str) -> None:
        check_task_name(name)
        if name in self._labels:
            raise UserError(f"task {name!r} exists already; choose another name")
        other = self._in_any_case.get(name.casefold(), name)
        check_apart((other, name), "the network")
        if name in self.reserved_names:
            raise UserError(f"task name {name!r} is reserved; choose another name")
