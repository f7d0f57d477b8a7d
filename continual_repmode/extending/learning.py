"""Learns one structure, with the known ones or alone, resumable at saved epochs."""

import copy
import sys
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch

from continual_repmode import distributed
from continual_repmode.assembly import Run, assemble
from continual_repmode.extending.lab_volumes import LabVolumes
from continual_repmode.extending.settings import NUM_SAVINGS
from continual_repmode.models.methods.multinet import MultiNet
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.results import RunFolder
from continual_repmode.runtime import seed_everything
from continual_repmode.scenario import Scenario
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training.strategies.individual import IndividualConfig
from continual_repmode.training.strategies.repmode import RepModeConfig
from continual_repmode.training.streams import build_benchmark

FLIP_AXES = "YX"
"""A flip along Z would turn the contrast of transmitted light around."""
SCRATCH_KERNEL = 3
"""Extent of the kernels of a network from scratch: 3x3x3 kernels learned faster than
5x5x5 at the small sizes that were measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A structure to be learned, and all that decides how."""

    #: Is not changed.
    base: TrainedModel
    volumes: LabVolumes
    #: Made by :func:`continual_repmode.extending.provenance.provenance_of`.
    provenance: dict[str, Any]
    device: torch.device
    #: Take what the extension by all images tells.
    loggers: tuple[str, ...] = ()

    def extension(self, folder: RunFolder, *, num_images: int | None = None) -> Run:
        """Let a copy of the trained network gain experts and gates.

        ``folder``: where the record is there already, nothing is learned.
        ``num_images``: learn from the first ones of the training images, in as many
            steps.
        """
        chosen = self.provenance
        method = RepModeConfig(
            expert=chosen["expert"],
            expert_mix=chosen["expert_mix"],
            expert_init="zero" if chosen["expert_mix"] == "additive" else "random",
            gate_init=chosen["gate_init"],
            gate_rate=chosen["gate_rate"],
            outer_rate=chosen["outer_rate"],
            private_bn=chosen["private_bn"],
            use_extensions=chosen["use_extensions"],
        )
        return self._run(
            copy.deepcopy(self.base.net),
            folder,
            known_tasks=self.base.net.task_names,
            num_images=num_images,
            method=method,
            strategy="repmode",
            tasks=self.base.card.tasks,
            loggers=() if num_images else self.loggers,
            settings=chosen,
            origin={"path": str(self.base.path), "sha256": self.base.sha256},
        )

    def from_scratch(self, folder: RunFolder) -> Run:
        """Let a plain U-Net of the trained network's extent learn the structure."""
        shape = self.base.net
        seed_everything(self.provenance["seed"])
        net = MultiNet(
            (self.provenance["task"],),
            kernel_size=SCRATCH_KERNEL,
            width=shape.width,
            depth=shape.depth,
            in_channels=shape.in_channels,
            out_channels=shape.out_channels,
            axes=shape.axes,
        )
        return self._run(net, folder, method=IndividualConfig(), strategy="individual")

    def target_variance(self) -> float:
        """Return the error of predicting the mean of each validation image."""
        pairs = self.volumes.collection.pairs(self.provenance["task"], "valid")
        targets = (pair.load().target for pair in pairs)
        unknown = ((target, np.isnan(target)) for target in targets)
        recorded = (t[~nan] if nan.any() else t for t, nan in unknown)
        return fmean(float(np.var(target, dtype=np.float64)) for target in recorded)

    def _run(
        self,
        net: TaskNetwork,
        folder: RunFolder,
        *,
        known_tasks: tuple[str, ...] = (),
        num_images: int | None = None,
        tasks: dict[str, Any] | None = None,
        origin: dict[str, str] | None = None,
        **method: Any,
    ) -> Run:
        """Put together what learns the structure, with the settings of the lab."""
        told = distributed.of_first(
            distributed.is_first() and folder.go_back(keeps_networks=num_images is None)
        )
        if told:
            print(told, file=sys.stderr)
        volumes, chosen = self.volumes, self.provenance
        task = chosen["task"]
        z, y, x = chosen["window"]
        return assemble(
            net,
            build_benchmark(
                Scenario(name=f"extension_{task}", experiences=[[task]]),
                data=volumes.collection,
                patch_size=volumes.patch_size,
                flip_axes=FLIP_AXES,
                pad_small=chosen["pad_small"],
                num_new=num_images,
                known_tasks=known_tasks,
            ),
            folder,
            card=replace(
                self.base.card,
                tasks=tasks or {},
                voxel_size_um=volumes.collection.voxel_size_um,
                resize=volumes.resize,
                order=volumes.order,
                run={"base_model": origin} if origin else {},
            ),
            seed=chosen["seed"],
            learning_rate=chosen["learning_rate"],
            schedule=chosen["schedule"],
            save_every=max(1, chosen["epochs"] // NUM_SAVINGS),
            train_mb_size=chosen["batch_size"],
            train_epochs=chosen["epochs"],
            device=self.device,
            patience=chosen["patience"],
            validate_every=None,
            window=(z, y, x),
            overlap=tuple(chosen["overlap"]),
            precision=chosen["precision"],
            metrics=chosen["metrics"],
            **method,
        )
