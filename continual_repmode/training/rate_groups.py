"""Parameter groups of an optimizer: kinds of parameters with rates of their own."""

from collections.abc import Mapping, Sequence

from torch.nn import Parameter
from torch.optim import Optimizer

from continual_repmode.errors import UserError
from continual_repmode.models.task_network import RATE_KINDS


class RateGroups:
    """Keeps an optimizer to the trainable parameters as a network grows and freezes.

    ``optimizer``: gains an empty group for each kind that has a rate of its own.
    ``factors``: kind of parameter -> its learning rate as a multiple of that of the
        first group.
    Raises UserError if there is no such kind.
    """

    def __init__(self, optimizer: Optimizer, factors: Mapping[str, float]) -> None:
        self._optimizer = optimizer
        self._places: dict[str, int] = {}
        groups = optimizer.param_groups
        for kind, factor in factors.items():
            if kind not in RATE_KINDS:
                raise UserError(
                    f"rate_factors: there is no kind {kind!r}; use "
                    f"{', '.join(RATE_KINDS)}"
                )
            if factor != 1:
                self._places[kind] = len(groups)
                rate = groups[0]["lr"] * factor
                optimizer.add_param_group({**groups[0], "params": [], "lr": rate})

    def take(
        self, trainable: Sequence[Parameter], kinds: Mapping[str, Sequence[Parameter]]
    ) -> None:
        """Put the trainable parameters, and only them, into their groups.

        New ones join the first group, or that of their kind if it has a rate of its
        own; frozen ones leave, so that weight decay and momentum cannot move them. The
        moments start empty, and parameters stand in the order of the network: a run
        resumed from a file, which knows parameters by their place, continues as the
        undisturbed one.

        ``trainable``: in the order of the network.
        ``kinds``: see :meth:`continual_repmode.models.TaskNetwork.rate_kinds`.
        """
        groups, wanted = self._optimizer.param_groups, set(trainable)
        apart = {p for kind in self._places for p in kinds[kind]}
        for group in groups:
            group["params"] = [p for p in group["params"] if p in wanted - apart]
        for kind, index in self._places.items():
            groups[index]["params"] = [p for p in kinds[kind] if p in wanted]
        grouped = {p for group in groups for p in group["params"]}
        groups[0]["params"] += [p for p in trainable if p not in grouped]
        place = {parameter: i for i, parameter in enumerate(trainable)}
        for group in groups:
            group["params"].sort(key=place.__getitem__)
        self._optimizer.state.clear()
