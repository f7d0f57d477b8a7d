"""Plain networks whose frozen convolutions a new task adapts to itself."""

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from continual_repmode.errors import UserError
from continual_repmode.models.adapters import check_adapter
from continual_repmode.models.conv_units import ConvUnit
from continual_repmode.models.methods.task_parts import FRESH, PartedNetwork
from continual_repmode.models.task_norm import TaskNorm


class AdaptableNetwork(PartedNetwork):
    """A network of plain units that a new task may use as they are, with adapters.

    Such a task passes the units of a known one. In each it has an adapter where the
    convolution keeps the resolution, batch normalization of its own, and for the
    prediction a convolution of its own. All of that starts as a copy of what the known
    task has there; adapters that it does not have start as identity. So the new task
    starts from exactly what the known one predicts. That adapters stand where RepMode
    has its experts, and not at the convolutions that sample, is our choice, for a fair
    comparison.
    """

    owned: ClassVar[tuple[str, ...]] = ("adapter", "head", "private")
    task_options = ("init", "adapter")

    def add_task(  # type: ignore[override]  # names its options
        self, name: str, *, init: str = FRESH, adapter: str | None = None
    ) -> int:
        """Add a part of a new task, or adapters for it, and return the task's label.

        Everything stays trainable; call :meth:`freeze` first to train what is added
        only, so that nothing can change for the tasks known before.

        ``init``: name of a known task to start from, or ``"fresh"``; without adapters
            see :meth:`PartedNetwork.add_task
            <continual_repmode.models.methods.task_parts.PartedNetwork.add_task>`. With
            adapters, ``"fresh"`` is possible where all that a task has of its own is
            the last convolution, which then starts at random.
        ``adapter``: kind of the adapters, see
            :mod:`~continual_repmode.models.adapters`; None: no adapters but a part.
        Raises UserError if the name is taken or not a name, or an option is not as
            above, or the task to start from has adapters of another kind. The network
            is then unchanged.
        """
        options: dict[str, Any] = {} if adapter is None else {"adapter": adapter}
        return super().add_task(name, init=init, **options)

    def adapter_kind(self, task: str | int) -> str | None:
        """Return the kind of the adapters of a task; None if it has a part instead."""
        task = self.task_name(task)
        kinds = {e["name"]: e.get("adapter") for e in self._extensions}
        return kinds.get(task)

    def has_parallel_adapters(self, task: str | int) -> bool:
        """Return whether a task has adapters, if any, that kernels can take in."""
        return self.adapter_kind(task) not in (None, "grouped")

    @abstractmethod
    def units_of(self, task: str) -> dict[str, ConvUnit]:
        """Return the units that a task passes, by their places in the U-Net."""

    def output_of(self, task: str) -> nn.Conv3d | nn.ConvTranspose3d:
        """Return the convolution that makes the prediction of a task."""
        return self.units_of(task)["output"].conv_of(task)

    def task_tensors(self, task: str | int) -> dict[str, Tensor]:
        """Return a copy of all tensors that decide the predictions of one task."""
        task = self.task_name(task)
        unused: set[str] = set()
        for place, module in self.named_modules():
            if isinstance(module, TaskNorm) and module.of(task) is not module:
                unused |= {f"{place}.{name}" for name in module.effective_state()}
                unused.add(f"{place}.num_batches_tracked")
            elif (
                isinstance(module, ConvUnit) and module.conv_of(task) is not module.conv
            ):
                unused |= {f"{place}.conv.{name}" for name in module.conv.state_dict()}
        state = super().task_tensors(task)
        return {name: tensor for name, tensor in state.items() if name not in unused}

    @abstractmethod
    def _grow_part(self, name: str, init: str) -> None:
        """Make the part of a new task; on a UserError nothing has changed."""

    @abstractmethod
    def _use_part(self, name: str, init: str) -> None:
        """Let a new task use what ``init`` has; on a UserError nothing has changed."""

    def _grow(  # type: ignore[override]  # names its options
        self, name: str, *, init: str, adapter: str | None = None
    ) -> None:
        if adapter is None:
            self._grow_part(name, init)
            return
        check_adapter(adapter)
        start = None if init == FRESH else init
        kind = self.adapter_kind(start) if start in self.task_names else None
        if kind not in (None, "none", adapter):
            raise UserError(
                f"init {init!r}: this task has adapters of the kind {kind!r}, which "
                f"cannot go on as {adapter!r}; use adapter {kind!r} or a task without"
            )
        self._use_part(name, init)
        for unit in self.units_of(name).values():
            unit.adapt(name, adapter, self.axes, start)
