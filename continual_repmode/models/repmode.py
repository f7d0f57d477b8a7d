"""RepMode: a 3D U-Net whose every convolution is a MoDE block, open to new tasks.

Sec. 3 of the paper gives the network, Sec. 4.4 (Fig. 8) the extension to an unseen
task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit, UnitSpec, plain_unit
from continual_repmode.models.experts import EXPERTS, check_expert
from continual_repmode.models.gating import GATE_INITS, GatingTable
from continual_repmode.models.mode_conv import MoDEBlock, MoDEConv
from continual_repmode.models.spatial import Axes, Size3
from continual_repmode.models.task_groups import group_by_task
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.models.unet3d import UNet3d
from continual_repmode.tasks import TASKS, check_task_name


@dataclass(frozen=True)
class TaskExtension:
    """How a task was added; see :meth:`RepModeUNet.add_task` for the fields."""

    name: str
    expert: str | None
    private_bn: bool
    use_extensions: bool
    gate_init: str


class RepModeUNet(nn.Module):
    """The network of the paper: one U-Net whose kernels depend on the task.

    Parameters
    ----------
    task_names : sequence of str
        Names of the base tasks; a task label is a position in it.
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        Number of times the resolution is halved.
    experts : sequence of str
        Kinds of the experts in every block, ``convK`` or ``avgK_conv1`` with odd K. A
        kind may be repeated: its experts have weights of their own.
    in_channels, out_channels : int
    axes : {"ZYX", "YX"}
        ``"YX"``: kernels and sampling leave Z alone, for 2D images as Z = 1 stacks.
    """

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        width: int = 32,
        depth: int = 4,
        experts: Sequence[str] = EXPERTS,
        in_channels: int = 1,
        out_channels: int = 1,
        axes: Axes = "ZYX",
    ) -> None:
        super().__init__()
        self._task_names: tuple[str, ...] = ()
        for name in task_names:
            self._check_new_name(name)
            self._task_names += (name,)
        if not self._task_names:
            raise UserError("task_names is empty; name at least one task")
        self._base_experts = tuple(experts)
        self._extensions: list[TaskExtension] = []
        self._num_frozen_tasks = 0
        self.unet = UNet3d(width, depth, in_channels, out_channels, axes, self._unit)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks; the index is the task label."""
        return self._task_names

    @property
    def divisor(self) -> Size3:
        """What the sides (Z, Y, X) of a training patch must be multiples of."""
        return self.unet.divisor

    @property
    def is_frozen(self) -> bool:
        """Whether :meth:`freeze` has fixed what the tasks share."""
        return self._num_frozen_tasks > 0

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
        groups = group_by_task(task_labels, len(signal), self._task_names)
        return groups.unsort(self.unet(groups.sort(signal), groups))

    def task_label(self, name: str) -> int:
        """Return the label of a task.

        Raises
        ------
        UserError
            If this network does not know the task.
        """
        if name not in self._task_names:
            raise UserError(
                f"task {name!r} is unknown to this network; it knows "
                f"{', '.join(self._task_names)}"
            )
        return self._task_names.index(name)

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

    def add_task(
        self,
        name: str,
        *,
        expert: str | None = "conv3",
        private_bn: bool = False,
        use_extensions: bool = False,
        gate_init: str = "mean",
        freeze: bool = True,
    ) -> int:
        """Extend the network to an unseen task (Fig. 8) and return its label.

        Every MoDE block gets a gate for the task and an expert of its own. With
        ``freeze`` these are all that can be trained, so nothing can change for the
        tasks known before.

        Parameters
        ----------
        name : str
            Name of the new task.
        expert : str or None
            Kind of the new expert, called ``extension_<name>``; None adds the gate
            only.
        private_bn : bool
            Give the task its own copy of every batch normalization, trainable and with
            its own running statistics.
        use_extensions : bool
            Let the task use the experts of earlier extensions too, as they are.
        gate_init : str
            ``"mean"`` starts from what the known tasks agree on, ``"uniform"`` from
            equal weights, the name of a known task from its weights; see
            :meth:`~continual_repmode.models.gating.TaskGate.initial_logits`.
        freeze : bool
            Call :meth:`freeze` first. False leaves everything trainable (naive
            fine-tuning, which forgets).

        Raises
        ------
        UserError
            If the name is taken or not a name, or an option is not as above. The
            network is then unchanged.
        """
        self._check_new_name(name)
        if expert is not None:
            check_expert(expert)
        if gate_init not in (*GATE_INITS, *self._task_names):
            raise UserError(
                f"gate_init {gate_init!r}: use 'mean', 'uniform' or a known task "
                f"({', '.join(self._task_names)})"
            )
        if freeze:
            self.freeze()
        for block in self.blocks().values():
            block.conv.add_task(name, expert, use_extensions, gate_init)
        if private_bn:
            for norm in self._shared_norms():
                norm.add_private(name, training=self.training)
        self._task_names += (name,)
        self._extensions.append(
            TaskExtension(name, expert, private_bn, use_extensions, gate_init)
        )
        return self.task_label(name)

    def freeze(self) -> None:
        """Fix every task known so far for good.

        No parameter requires a gradient any more (gradients are dropped, so no
        optimizer moves them by weight decay), the activated gating weights are kept in
        buffers instead of the layers that made them, and batch normalization stays in
        evaluation mode. Predictions in evaluation mode remain the same to the bit.
        """
        for block in self.blocks().values():
            block.conv.gate.store()
        for norm in self._shared_norms():
            for task in self._task_names:
                norm.of(task).freeze()
            norm.freeze()
        for parameter in self.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        self._num_frozen_tasks = len(self._task_names)

    def blocks(self) -> dict[str, MoDEBlock]:
        """Return the MoDE blocks by name, in the order a signal passes them."""
        return {n: u for n, u in self.unet.units() if isinstance(u, MoDEBlock)}

    def gating_weights(self) -> list[GatingTable]:
        """Return copies of the gating weights: by block in network order, then task."""
        return [
            GatingTable(name, task, gate.experts[task], gate(task).detach().clone())
            for name, gate in ((n, b.conv.gate) for n, b in self.blocks().items())
            for task in self._task_names
        ]

    def task_state(self, task: str | int) -> dict[str, Tensor]:
        """Return a copy of all tensors that decide the predictions of one task.

        That is, for each unit: the kernels of the experts the task uses and its
        activated gating weights (or the kernel of a sampling convolution), and the
        parameters and running statistics of the batch normalization it uses. The names
        do not depend on whether the network is frozen.
        """
        task = self.task_name(task)
        state: dict[str, Tensor] = {}
        for name, unit in self._units():
            if isinstance(unit, MoDEBlock):
                state[f"{name}.gates"] = unit.conv.gate(task)
                for expert_name, expert in unit.conv.experts_of(task).items():
                    state[f"{name}.experts.{expert_name}"] = expert.weight
            else:
                state[f"{name}.weight"] = unit.conv.weight
            if unit.norm is not None:
                for key, tensor in unit.norm.of(task).effective_state().items():
                    state[f"{name}.norm.{key}"] = tensor
        return {name: tensor.detach().clone() for name, tensor in state.items()}

    def num_task_parameters(self, task: str | int) -> int:
        """Count the parameters that were introduced for one task.

        These are its gating weights (E per output channel and block, stored or not)
        and, for an added task, its experts and private batch normalization.
        """
        task = self.task_name(task)
        own_modules = {f"extension_{task}", f"private_{task}"}
        tensors = [block.conv.gate(task) for block in self.blocks().values()]
        tensors += [
            parameter
            for name, parameter in self.named_parameters()
            if own_modules & set(name.split("."))
        ]
        return sum(tensor.numel() for tensor in tensors)

    def architecture(self) -> dict[str, Any]:
        """Return what :meth:`from_architecture` needs, as plain JSON values."""
        unet = self.unet
        return {
            "network": type(self).__name__,
            "task_names": list(self._task_names[: -len(self._extensions) or None]),
            "width": unet.width,
            "depth": unet.depth,
            "experts": list(self._base_experts),
            "in_channels": unet.in_channels,
            "out_channels": unet.out_channels,
            "axes": unet.axes,
            "extensions": [asdict(extension) for extension in self._extensions],
            "num_frozen_tasks": self._num_frozen_tasks,
        }

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any]) -> "RepModeUNet":
        """Build a network of the same structure, frozen alike, with fresh parameters.

        Raises
        ------
        UserError
            If the description is incomplete or of another kind of network.
        """
        arguments = dict(architecture)
        try:
            network = arguments.pop("network")
            extensions = [TaskExtension(**e) for e in arguments.pop("extensions")]
            num_frozen_tasks = arguments.pop("num_frozen_tasks")
            if network != cls.__name__:
                raise UserError(
                    f"architecture: network {network!r}, not {cls.__name__}"
                )
            net = cls(**arguments)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"architecture: missing or unknown entry ({error})"
            ) from None
        for extension in extensions:
            if len(net.task_names) == num_frozen_tasks:
                net.freeze()
            net.add_task(**asdict(extension), freeze=False)
        if len(net.task_names) == num_frozen_tasks:
            net.freeze()
        return net

    def _unit(self, spec: UnitSpec) -> nn.Module:
        if spec.role not in ("conv", "output"):
            return plain_unit(spec)
        conv = MoDEConv(
            spec.in_channels,
            spec.out_channels,
            self._task_names,
            self._base_experts,
            spec.axes,
        )
        last = spec.role == "output"
        return MoDEBlock(conv, None if last else TaskNorm(spec.out_channels))

    def _units(self) -> Iterator[tuple[str, MoDEBlock | ConvUnit]]:
        for name, unit in self.unet.units():
            assert isinstance(unit, MoDEBlock | ConvUnit)
            yield name, unit

    def _shared_norms(self) -> list[TaskNorm]:
        return [unit.norm for _, unit in self._units() if unit.norm is not None]

    def _check_new_name(self, name: str) -> None:
        check_task_name(name)
        if name in self._task_names:
            raise UserError(f"task {name!r} exists already; choose another name")
        if name in GATE_INITS:
            raise UserError(f"task name {name!r} is reserved; choose another name")
