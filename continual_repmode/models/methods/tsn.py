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
import torch.nn.functional as F
from torch import Tensor, nn

from continual_repmode.checks import at_least, one_of, setting
from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import UnitSpec, build_conv, plain_unit
from continual_repmode.models.methods.output_head import build_output, grow_output
from continual_repmode.models.methods.task_parts import PartedNetwork
from continual_repmode.models.model_config import HeadConfig
from continual_repmode.models.spatial import crop_like
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import Shape, TaskNetwork
from continual_repmode.tasks import TASKS

_NUM_LAYERS = 8
_NORM_EPS = 1e-5


class EqualizedLinear(nn.Module):
    """A linear layer with equalized learning rate.

    The stored weights are drawn from N(0, 1) and multiplied by sqrt(2 / in_features) at
    every use, so that a step of the optimizer means the same in every layer; the bias
    starts at 0.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.scale = (2 / in_features) ** 0.5
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        nn.init.normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_features) to (B, out_features)."""
        return F.linear(features, self.scale * self.weight, self.bias)


class TaskEmbedding(nn.Module):
    """What a fixed code per task becomes in eight layers (LeakyReLU, slope 0.2).

    The codes are buffers called ``code_<task>`` of ``entries_per_task * max_tasks``
    entries. Before the first layer each is divided by its root mean square.

    ``codes``: "orthogonal" or "gaussian"; ones in the entries of the task and zeros
        elsewhere, or N(0, 1) in all, drawn once.
    """

    def __init__(
        self, tasks: Sequence[str], codes: str, entries_per_task: int, max_tasks: int
    ) -> None:
        super().__init__()
        if codes not in ("orthogonal", "gaussian"):
            raise UserError(f"codes {codes!r}: use 'orthogonal' or 'gaussian'")
        if entries_per_task < 1:
            raise UserError(
                f"entries_per_task {entries_per_task}: use a positive number"
            )
        self.codes = codes
        self.entries_per_task = entries_per_task
        self.max_tasks = max_tasks
        self.size = entries_per_task * max_tasks
        self._num_tasks = 0
        self.check_room(len(tasks))
        self.layers = nn.ModuleList(
            EqualizedLinear(self.size, self.size) for _ in range(_NUM_LAYERS)
        )
        for task in tasks:
            self.add_task(task)

    def forward(self, groups: TaskGroups) -> Tensor:
        """Return the embedding of each sample of a sorted batch, shape (B, size)."""
        codes = [self.get_buffer(f"code_{group.task}") for group in groups.groups]
        features = torch.stack(codes)
        features = features / (features.square().mean(1, keepdim=True) + 1e-8).sqrt()
        for layer in self.layers:
            features = F.leaky_relu(layer(features), 0.2)
        rows = zip(features, groups.groups, strict=True)
        return torch.cat([row.expand(g.stop - g.start, -1) for row, g in rows])

    def check_room(self, num_new: int) -> None:
        """Raise a :class:`UserError` if there are no codes left for further tasks."""
        num_tasks = self._num_tasks + num_new
        if num_tasks > self.max_tasks:
            raise UserError(
                f"max_tasks {self.max_tasks}: no codes for {num_tasks} tasks; "
                f"build the network with max_tasks of at least {num_tasks}"
            )

    @torch.no_grad()
    def add_task(self, task: str) -> None:
        """Add the code of a task.

        Raises UserError if there are ``max_tasks`` already.
        """
        self.check_room(1)
        code = next(self.parameters()).new_zeros(self.size)
        if self.codes == "gaussian":
            code.normal_()
        else:
            start = self._num_tasks * self.entries_per_task
            code[start : start + self.entries_per_task] = 1
        self.register_buffer(f"code_{task}", code)
        self._num_tasks += 1


class EmbeddedTasks(TaskGroups):
    """The groups of a sorted batch together with the embedding of each sample.

    ``embeddings``: (B, size).
    """

    def __init__(
        self, groups: TaskGroups, task_names: Sequence[str], embeddings: Tensor
    ) -> None:
        labels = [g.label for g in groups.groups for _ in range(g.start, g.stop)]
        super().__init__(labels, task_names)
        self.embeddings = embeddings


class SwitchedConv(nn.Module):
    """Convolution, instance normalization, scale and shift by the task, LeakyReLU.

    "Module A" of TSNs: ``LeakyReLU(scale * IN(conv(x)) + shift)`` with slope 0.01. The
    normalization has no parameters and no running statistics. A map of a single voxel
    is normalized to 0, in training too, where PyTorch's own instance normalization
    refuses it: its deviation from its mean is 0, so only the shift remains.

    ``film_init``: "published" or "identity"; how the layer from embeddings to scales
        and shifts starts: with random weights, or with zeros, so that every task starts
        with scale 1 and shift 0 (our adaptation).
    """

    def __init__(
        self,
        spec: UnitSpec,
        kernel_size: int,
        embedding_size: int,
        film_init: str,
    ) -> None:
        super().__init__()
        self.conv = build_conv(spec, kernel_size, bias=True)
        self.film = EqualizedLinear(embedding_size, 2 * spec.out_channels)
        nn.init.ones_(self.film.bias[: spec.out_channels])
        if film_init == "identity":
            nn.init.zeros_(self.film.weight)

    def forward(self, features: Tensor, tasks: EmbeddedTasks) -> Tensor:
        """Map features (B, I, Z, Y, X), sorted by task, to (B, O, Z', Y', X')."""
        scale_and_shift = self.film(tasks.embeddings)[:, :, None, None, None]
        scale, shift = scale_and_shift.chunk(2, dim=1)
        normalized = normalize_instances(self.conv(features))
        return F.leaky_relu_(scale * normalized + shift, 0.01)


def normalize_instances(features: Tensor) -> Tensor:
    """Normalize each channel of each sample over (Z, Y, X), whatever the size.

    ``features``: (B, C, Z, Y, X).
    """
    return torch.group_norm(features, features.shape[1], eps=_NORM_EPS)


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
