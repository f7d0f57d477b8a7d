"""The evaluation half of the loop: whole volumes, predicted by windows, measured."""

import logging
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from continual_repmode import distributed
from continual_repmode.errors import UserError
from continual_repmode.inference.projection import projected_like
from continual_repmode.inference.tiled import predict_volume
from continual_repmode.inference.windows import Overlap
from continual_repmode.models import TaskNetwork, deploy
from continual_repmode.training.avalanche_api import CLExperience, SupervisedTemplate
from continual_repmode.training.context import task_names_of
from continual_repmode.volumes.volume import Size3

_log = logging.getLogger(__name__)


class VolumeEvaluation(SupervisedTemplate):  # type: ignore[misc] # Avalanche is untyped
    """Evaluates the learned tasks of a stream on whole volumes.

    ``window``, ``overlap``: those of :class:`DenseStrategy`.
    ``**template``: arguments of Avalanche's template; ``model`` is a
        :class:`~continual_repmode.training.task_module.TaskModule`.
    """

    def __init__(self, *, window: Size3, overlap: Overlap, **template: Any) -> None:
        self.window = window
        self.overlap = overlap
        self._deployed: dict[int, Any] = {}
        super().__init__(**template)

    @property
    def net(self) -> TaskNetwork:
        """The network itself, without Avalanche's wrapper."""
        net: TaskNetwork = self.model.net
        return net

    def eval(self, exp_list: Any, *, num_workers: int = 0) -> dict[str, Any]:
        """Measure every learned task of a stream; says which tasks it left out.

        Parameters
        ----------
        exp_list : experience or iterable of them
        num_workers : int
            Processes that load volumes.

        Raises
        ------
        UserError
            If there is no experience, or none of the tasks has been learned.
        """
        experiences = list(exp_list if isinstance(exp_list, Iterable) else [exp_list])
        if not experiences:
            raise UserError(
                "there is no experience to evaluate; give some, such as those of "
                "benchmark.test_stream"
            )
        learned: list[CLExperience] = []
        left_out: list[CLExperience] = []
        for experience in experiences:
            names = task_names_of(experience)
            known = all(name in self.net.task_names for name in names)
            (learned if known else left_out).append(experience)
        missing = [name for exp in left_out for name in task_names_of(exp)]
        if not learned:
            raise UserError(
                f"none of the tasks {', '.join(missing)} has been learned yet: "
                "train on an experience first"
            )
        if missing:
            _log.warning("not evaluated, not learned yet: %s", ", ".join(missing))
        results: dict[str, Any] = super().eval(learned, num_workers=num_workers)
        return results

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Predict every volume, or every one of the share of this process."""
        if distributed.world() == 1:
            super().make_eval_dataloader(**kwargs)
            return
        volumes = range(len(self.adapted_dataset))
        self.dataloader = DataLoader(
            self.adapted_dataset,
            sampler=distributed.share(volumes),
            collate_fn=self.adapted_dataset.collate_fn,
        )

    def predict(self, signal: Tensor, label: int) -> Tensor:
        """Predict one volume of one task by Gaussian windows (paper, Sec. 4.1).

        Parameters
        ----------
        signal : Tensor, shape (1, 1, Z, Y, X)
            Z-scored transmitted light.
        label : int
            Task label.

        Returns
        -------
        Tensor, shape (1, 1, Z, Y, X)
        """
        if label not in self._deployed:
            self._deployed[label] = deploy(self.net, label).eval()
        network = self._deployed[label]
        with self.model.autocast(signal.device):
            predicted = predict_volume(
                network,
                signal[0],
                window=self.window,
                overlap=self.overlap,
            )
        kind = self.model.projections.get(label)
        whole = predicted[None]
        return whole if kind is None else projected_like(whole, kind)

    def forget_deployed(self) -> None:
        """Drop the merged networks of :meth:`predict`; call it when weights change."""
        self._deployed.clear()

    def _before_eval(self, **kwargs: Any) -> None:
        self.forget_deployed()
        super()._before_eval(**kwargs)

    def _eval_cleanup(self) -> None:
        self.forget_deployed()
        super()._eval_cleanup()
