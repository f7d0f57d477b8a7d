"""A few training patches of every task, kept for when their data are gone."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from continual_repmode.errors import UserError

Extend = Callable[[Tensor, int], tuple[Tensor, ...]]
"""From a signal (1, Z, Y, X) and its task label: what else is kept with the patch."""


class PatchMemory:
    """A reservoir of training patches, balanced by task.

    Each task holds a uniform random sample of all its patches that were offered
    (Algorithm R: Vitter, ACM Trans. Math. Softw. 1985). The capacity is shared evenly:
    when a task arrives, the others give up patches at random. Random numbers come from
    PyTorch's global generator. Patches stay on the CPU.

    ``capacity``: patches of all tasks together, at least 1.
    Raises UserError if the capacity is below 1, or, when a task arrives, below one per
        task.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UserError(f"patches={capacity}: the memory needs at least 1")
        self._capacity = capacity
        self._patches: dict[int, list[tuple[Tensor, ...]]] = {}
        self._seen: dict[int, int] = {}

    def __len__(self) -> int:
        return sum(len(held) for held in self._patches.values())

    def counts(self) -> dict[int, int]:
        """Return how many patches each task holds, by task label."""
        return {label: len(held) for label, held in self._patches.items()}

    def fill(self, dataset: Any, extend: Extend | None = None) -> None:
        """Offer every patch of a dataset, again and again until its tasks are full.

        ``dataset``: draws another patch of an image each time it is asked.
        ``extend``: called with signal and label; the tensors it returns are kept as
            well.
        """
        labels: set[int] = set()
        while not labels or any(len(self._patches[x]) < self._share() for x in labels):
            for index in range(len(dataset)):
                signal, target, label = dataset[index]
                label = int(label)
                more = extend(signal, label) if extend is not None else ()
                self.offer(label, (signal, target, *more))
                labels.add(label)

    def offer(self, label: int, patch: tuple[Tensor, ...]) -> None:
        """Keep a patch of a task, in place of another or not at all, at random."""
        if label not in self._patches:
            self._make_room(label)
        held, share = self._patches[label], self._share()
        self._seen[label] += 1
        if len(held) < share:
            held.append(_on_cpu(patch))
            return
        place = int(torch.randint(self._seen[label], ()))
        if place < share:
            held[place] = _on_cpu(patch)

    def draw(self, number: int, device: torch.device) -> tuple[Tensor, ...]:
        """Draw patches without replacement, all with the same probability.

        ``number``: how many; all of them if the memory holds fewer.
        Returns: signal and target, each (B, 1, Z, Y, X), what else was kept, and the
            task labels, shape (B,).
        """
        everything = [(k, patch) for k, held in self._patches.items() for patch in held]
        chosen = torch.randperm(len(everything))[:number].tolist()
        parts = zip(*(everything[index][1] for index in chosen), strict=True)
        labels = torch.tensor([everything[index][0] for index in chosen])
        return tuple(
            part.to(device) for part in (*(torch.stack(p) for p in parts), labels)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the patches as plain containers of tensors."""
        return {"patches": self._patches, "seen": self._seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what :meth:`state_dict` returned."""
        self._patches = {
            label: [_on_cpu(patch) for patch in held]
            for label, held in state["patches"].items()
        }
        self._seen = dict(state["seen"])

    def _share(self) -> int:
        return self._capacity // len(self._patches)

    def _make_room(self, label: int) -> None:
        if self._capacity <= len(self._patches):
            raise UserError(
                f"patches={self._capacity}: the memory is too small for "
                f"{len(self._patches) + 1} tasks; keep at least one patch of each"
            )
        self._patches[label], self._seen[label] = [], 0
        for other, held in self._patches.items():
            if len(held) > self._share():
                kept = torch.randperm(len(held))[: self._share()].tolist()
                self._patches[other] = [held[index] for index in kept]


def _on_cpu(patch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(part.detach().cpu() for part in patch)
