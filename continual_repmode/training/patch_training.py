"""Training steps of patches, taken by one process or by several."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from continual_repmode import distributed
from continual_repmode.stopping import Interrupted, signals_noted
from continual_repmode.training.context import context_of
from continual_repmode.training.sampling import (
    SAMPLERS,
    RecordingSampler,
    patch_loader,
)
from continual_repmode.training.volume_evaluation import VolumeEvaluation


class PatchTraining(VolumeEvaluation):
    """Trains on patches the network that is evaluated on whole volumes.

    ``mixing``, ``precision``, ``device``, ``num_workers``: those of
        :class:`DenseStrategy`.
    ``**evaluation``: further arguments of :class:`VolumeEvaluation`.
    """

    loss: Any

    def __init__(
        self,
        *,
        mixing: str,
        precision: str,
        device: str | torch.device,
        num_workers: int,
        **evaluation: Any,
    ) -> None:
        self.mixing = mixing
        self.num_workers = num_workers
        self.scaler = torch.amp.GradScaler(
            torch.device(device).type, enabled=precision == "float16"
        )
        self._sampler: RecordingSampler | None = None
        self._side_predictions: tuple[Tensor, ...] = ()
        self._told_to_stop: Callable[[], bool] = bool
        super().__init__(device=device, **evaluation)

    def make_train_dataloader(self, **_: Any) -> None:
        """Draw patches of all tasks of the experience."""
        self._sampler = SAMPLERS[self.mixing](self.adapted_dataset)
        self.dataloader = patch_loader(
            self.adapted_dataset,
            self._sampler,
            batch_size=self.train_mb_size,
            patch_size=context_of(self.experience).patch_size,
            num_workers=self.num_workers,
            pin_memory=self.device.type == "cuda",
        )

    def _check_distributed_training_compatibility(self) -> bool:
        """Tell Avalanche nothing: what cannot be shared is refused before any work."""
        return True

    def training_epoch(self, **kwargs: Any) -> None:
        """Take the steps of an epoch; several processes stop at the same one."""
        if distributed.world() == 1:
            super().training_epoch(**kwargs)
            return
        with signals_noted() as self._told_to_stop:
            super().training_epoch(**kwargs)
            if any(distributed.gathered(self._told_to_stop())):
                raise Interrupted

    def batch_images(self) -> list[str]:
        """Return the names of the images that this process has of the batch."""
        if self.mbatch is None:
            return []
        own = distributed.share(self._batch_indices())
        return [self.train_pairs[index].name for index in own]

    @property
    def num_patches(self) -> int:
        """Patches in the current batch, of all processes."""
        return len(self._batch_indices() if distributed.world() > 1 else self.mb_x)

    def _batch_indices(self) -> list[int]:
        """Return the places in the dataset of the current batch, of all processes."""
        if self._sampler is None:
            return []
        start = self.clock.train_epoch_iterations * self.train_mb_size
        return self._sampler.order[start : start + self.train_mb_size]

    def backward(self) -> None:
        """Differentiate the loss; with several processes, that of the whole batch.

        The loss of a batch is the mean over its patches, so that of a share counts by
        its number of patches.
        """
        part = self.loss
        if distributed.world() > 1:
            part = part * (len(self.mb_x) / self.num_patches)
        self.scaler.scale(part).backward()
        if distributed.world() > 1:
            if distributed.sum_gradients(self.model.parameters(), self._told_to_stop()):
                raise Interrupted
            self.loss = distributed.sum_over_processes(part.detach())
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)

    def optimizer_step(self) -> None:
        """Take the step, unless a scaled gradient was too large for float16."""
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def forward(self) -> Tensor:
        """Predict patches in training, whole volumes in evaluation."""
        if not self.is_training:
            return self.predict(self.mb_x, int(self.mb_task_id[0]))
        output: Tensor
        output, self._side_predictions = self.model.predict(self.mb_x, self.mb_task_id)
        return output

    def criterion(self) -> Tensor:
        """Return the loss of the current batch, side predictions included."""
        sides, self._side_predictions = self._side_predictions, ()
        if not self.is_training:  # whole volumes, other ones in each process
            with distributed.apart():
                return self._loss(self.mb_output, sides, self.mb_y)
        return self._loss(self.mb_output, sides, self.mb_y)

    def batch_loss(self, signal: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """Predict a batch that is not the current one and return its loss.

        Parameters
        ----------
        signal, target : Tensor, shape (B, 1, Z, Y, X)
        labels : Tensor of integers, shape (B,)
            Task labels.

        Returns
        -------
        Tensor, scalar
        """
        output, sides = self.model.predict(signal, labels)
        return self._loss(output, sides, target)

    def _loss(
        self, output: Tensor, sides: tuple[Tensor, ...], target: Tensor
    ) -> Tensor:
        """Add the mean loss of the side predictions (deep supervision), weighted."""
        loss: Tensor = self._criterion(output, target)
        if sides:
            losses = [self._criterion(side, target) for side in sides]
            loss = loss + self.net.side_weight * torch.stack(losses).mean()
        return loss
