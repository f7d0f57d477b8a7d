"""TSNs: the task switches scale and shift in the decoder (Sun et al., ICCV 2021).

"Task Switching Network for Multi-Task Learning": a small network turns the fixed code
of a task into an embedding, from which every layer of the decoder takes the scale and
shift that follow its instance normalization. The encoder does not know the task. Our
adaptation is the shared backbone: the bottleneck output and every skip pass a
conditional 1x1x1 convolution, the decoder convolutions become conditional, up-sampling
convolutions keep batch normalization and ReLU, and the output is plain.

Instance normalization discards the intensity scale of a patch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from continual_repmode.checks import at_least, one_of, setting
from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, plain_unit
from continual_repmode.models.methods.output_head import build_output, grow_output
from continual_repmode.models.methods.switched_conv import (
    EmbeddedTasks,
    SwitchedConv,
    TaskEmbedding,
)
from continual_repmode.models.methods.task_parts import PartedNetwork
from continual_repmode.models.model_config import HeadConfig
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.tasks import TASKS


class TaskSwitchingUNet(PartedNetwork):
    """A U-Net whose decoder and skips are scaled and shifted by the task.

    ``task_names``: names of the base tasks; a task label is a position in it.
    ``kernel_size``: odd extent of the kernels.
    ``head``: "shared" or "per_task"; one output convolution, or one for each task
        (unknown which one the paper ran; shared as published).
    ``codes``: "orthogonal" or "gaussian"; the fixed codes: a task has ones in entries
        of its own, or random entries drawn once.
    ``entries_per_task``: a code has ``entries_per_task * max_tasks`` entries (240 at
        the defaults; our adaptation of the published 20 for each of 5 tasks).
    ``max_tasks``: number of tasks the codes have room for, later ones included.
    ``film_init``: "published" or "identity"; whether tasks differ from the start as
        published, or start the same with scale 1 and shift 0 (our adaptation).
    ``**shape``: ``width``, ``depth``, ``in_channels``, ``out_channels`` and ``axes``;
        see :class:`~continual_repmode.models.task_network.Shape`.
    Raises UserError if an argument is not as above or there are more than ``max_tasks``
        tasks.
    """

    owned = ("code", "head")

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        *,
        kernel_size: int = 5,
        head: str = "shared",
        codes: str = "orthogonal",
        entries_per_task: int = 20,
        max_tasks: int = 12,
        film_init: str = "published",
        **shape: Unpack[Shape],
    ) -> None:
        super().__init__(
            task_names,
            {
                "kernel_size": kernel_size,
                "head": head,
                "codes": codes,
                "entries_per_task": entries_per_task,
                "max_tasks": max_tasks,
                "film_init": film_init,
            },
            **shape,
        )
        if film_init not in ("published", "identity"):
            raise UserError(f"film_init {film_init!r}: use 'published' or 'identity'")
        self._kernel_size, self._head = kernel_size, head
        self._film_init = film_init
        self.embedding = TaskEmbedding(
            self.task_names, codes, entries_per_task, max_tasks
        )
        self.unet = self.build_unet(self._unit)
        self.skip_filters = nn.ModuleList(
            self._filter(f"skip{level + 1}", self.width << level)
            for level in range(self.depth)
        )
        self.bottleneck_filter = self._filter(
            "bottleneck.filter", self.width << self.depth
        )
        self.to(memory_format=torch.channels_last_3d)

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        tasks = EmbeddedTasks(groups, self.task_names, self.embedding(groups))
        features, skips = self.unet.encode(self.unet.prepare(signal), tasks)
        features = self.bottleneck_filter(features, tasks)
        filtered = [
            switch(skip, tasks)
            for switch, skip in zip(self.skip_filters, skips, strict=True)
        ]
        decoded = self.unet.decode(features, filtered, tasks)
        return crop_like(self.unet.output(decoded, tasks), signal)

    def _grow(  # type: ignore[override]  # names its option
        self, name: str, *, init: str
    ) -> None:
        self.embedding.check_room(1)
        grow_output(self.unet.output, name, init)
        self.embedding.add_task(name)

    def _unit(self, spec: UnitSpec) -> nn.Module:
        if spec.role == "output":
            return build_output(spec, self._kernel_size, self._head, self.task_names)
        if spec.role == "conv" and spec.name.startswith("decoder"):
            return self._switched(spec, self._kernel_size)
        return plain_unit(spec, self._kernel_size)

    def _filter(self, name: str, channels: int) -> SwitchedConv:
        spec = UnitSpec(name, "conv", channels, channels, self.axes)
        return self._switched(spec, kernel_size=1)

    def _switched(self, spec: UnitSpec, kernel_size: int) -> SwitchedConv:
        return SwitchedConv(spec, kernel_size, self.embedding.size, self._film_init)


@dataclass(kw_only=True, slots=True)
class TSNConfig(HeadConfig):
    """A task code scales and shifts normalized features in the decoder."""

    network: ClassVar[type[TaskNetwork]] = TaskSwitchingUNet

    #: Task codes: orthogonal, or gaussian (random, fixed).
    codes: str = setting("orthogonal", one_of("orthogonal", "gaussian"))
    #: Numbers in a code per task; a code has entries_per_task * max_tasks.
    entries_per_task: int = setting(20, at_least(1))
    #: Tasks that there are codes for.
    max_tasks: int = setting(12, at_least(1))
    #: Start of scale and shift: published (random), or identity.
    film_init: str = setting("published", one_of("published", "identity"))
