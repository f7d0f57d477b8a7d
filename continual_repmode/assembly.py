"""One way to put a run together: for ``run``, for ``extend``, and in Python."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from continual_repmode import distributed
from continual_repmode.checks import require_choice
from continual_repmode.errors import UserError
from continual_repmode.metrics.further import choose_metrics
from continual_repmode.models import ModelCard, TaskNetwork
from continual_repmode.results import SCHEMA, SCHEMA_VERSION, RunFolder, write_json
from continual_repmode.runtime import versions
from continual_repmode.training.avalanche_api import (
    CLScenario,
    SupervisedPlugin,
)
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.loop import run_stream
from continual_repmode.training.metric_plugins import (
    RegressionMetrics,
    evaluator_with,
)
from continual_repmode.training.plugins.learning_rate import OneCyclePlugin
from continual_repmode.training.plugins.progress import ProgressPlugin
from continual_repmode.training.plugins.samples import SamplesPlugin
from continual_repmode.training.plugins.seeding import SeedingPlugin
from continual_repmode.training.plugins.training_state import TrainingStatePlugin
from continual_repmode.training.strategies.strategy_config import StrategyConfig
from continual_repmode.training.trackers import TRACKERS, Tracker, check_loggers


@contextmanager
def joined_processes() -> Iterator[None]:
    """Let the processes that ``torchrun`` has started train together in the block.

    This module must be imported before: Avalanche makes a logger on import, which it
    refuses in all processes but one.
    """
    with distributed.joined(), distributed.errors_told_once():
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A stream of tasks, what learns it, and the folder that receives the results."""

    folder: RunFolder
    benchmark: CLScenario
    strategy: DenseStrategy
    #: One of the plugins of the strategy.
    state: TrainingStatePlugin
    #: Goes into every model file. Its ``run`` has ``scenario``, ``strategy``, ``seed``
    #: and, where the run starts from one, ``base_model`` (``path`` and ``sha256`` of
    #: the file).
    card: ModelCard
    #: Take what is told while it learns; none in processes but the first.
    trackers: Sequence[Tracker] = ()
    _open: list[Tracker] = field(default_factory=list)

    def write_header(self, command: str) -> None:
        """Write ``run.json``: what ``results.json`` says besides the results.

        ``command``: what repeats the run.
        """
        processes = distributed.world()
        header = {
            "command": command,
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **self.card.run,
            **({"num_processes": processes} if processes > 1 else {}),
            "device": str(self.strategy.device),
            "voxel_size_um": self.card.voxel_size_um,
            "versions": self.card.versions,
        }
        write_json(self.folder.header, header)

    def learn(
        self,
        after_experience: Callable[[], None] = lambda: None,
        *,
        adopt_first: bool = False,
    ) -> None:
        """Learn the experiences that have no record yet, testing after each.

        ``after_experience``: called when an experience has its record.
        ``adopt_first``: the network has learned the tasks of the first experience
            elsewhere.
        Raises NonFiniteError if training diverged; the message names the last good
            model file.
        Raises ForgettingError if a strategy that promises unchanged old tasks broke its
            promise.
        """
        with (
            self.tracking(),
            warnings.catch_warnings(),  # Avalanche changes the filters
        ):
            run_stream(
                self.strategy,
                self.benchmark,
                self.folder,
                state=self.state,
                card=self.card,
                after_experience=after_experience,
                adopt_first=adopt_first,
            )

    @contextmanager
    def tracking(self) -> Iterator[None]:
        """Keep the records of the trackers open; :meth:`learn` does so by itself.

        Raises UserError if one cannot be opened.
        """
        if self._open:  # by the caller of learn
            yield
            return
        complete = False
        try:
            for tracker in self.trackers:
                tracker.begin()
                self._open.append(tracker)
            yield
            complete = True
        finally:
            for plugin in self.strategy.plugins:
                if isinstance(plugin, ProgressPlugin):
                    plugin.close()
            for tracker in self._open:
                tracker.end(complete=complete)
            self._open.clear()

    def show(self, *figures: Path) -> None:
        """Pass figures, PNG files, on to the trackers that are open."""
        for tracker in self._open:
            tracker.hand_over(figures, (), self.strategy.clock.train_iterations)

    def hand_over(self) -> None:
        """Pass results and models on to the trackers that are open."""
        folder = self.folder
        files = [
            folder.config,
            folder.provenance,
            folder.header,
            folder.results,
            folder.image_metrics,
        ]
        files += sorted((folder.path / "checkpoints").glob("*.safetensors"))
        for tracker in self._open:
            tracker.hand_over((), [path for path in files if path.is_file()], 0)


def assemble(
    net: TaskNetwork,
    benchmark: CLScenario,
    folder: RunFolder,
    *,
    method: StrategyConfig,
    strategy: str,
    card: ModelCard,
    seed: int = 0,
    learning_rate: float = 1e-4,
    schedule: str = "constant",
    save_every: int = 1,
    loggers: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    metrics: str | Iterable[str] = (),
    **loop: Any,
) -> Run:
    """Give a network all it needs to learn a stream, resumable at saved epochs.

    Parameters
    ----------
    net : TaskNetwork
        As the last recorded experience of the folder left it, or a new one made with
        ``task_names=benchmark.base_tasks``. It is changed by learning.
    benchmark : CLScenario
        Made by :func:`continual_repmode.training.streams.build_benchmark`.
    folder : RunFolder
        Receives models, records, samples and the state of the training.
    method : StrategyConfig
        What happens when tasks arrive, such as
        :class:`~continual_repmode.training.strategies.repmode.RepModeConfig`.
    strategy : str
        What the method is called in files.
    card : ModelCard
        What is known about the network; versions and the origin are added.
    seed : int
        Of batches, patches and new parts of the network, at least 0.
    learning_rate : float
        Of Adam.
    schedule : {"constant", "one_cycle"}
        See :func:`continual_repmode.training.plugins.learning_rate.one_cycle`.
    save_every : int
        Epochs between savings of the training state.
    loggers : sequence of str
        Where learning curves and scores go besides the records of the folder: names of
        :data:`~continual_repmode.training.trackers.TRACKERS`.
    settings : mapping of str to object, optional
        What these note as the settings of the run.
    metrics : str or iterable of str
        What tests measure besides MSE, MAE, R2 and Pearson's r, such as ``"ssim,dice"``
        (docs/metrics.md).
    **loop
        Further arguments of
        :class:`~continual_repmode.training.dense_strategy.DenseStrategy`, such as
        ``train_epochs``.

    Raises
    ------
    UserError
        If the method does not go with the network, there is no such metric, schedule or
        logger, a package that one needs is missing, or loggers are wanted of an
        evaluator with loggers of its own.
    """
    require_choice("schedule", schedule, ("constant", "one_cycle"))
    check_loggers(loggers)
    if loggers and "evaluator" in loop:
        raise UserError("loggers= with evaluator=: give one of them")
    state = TrainingStatePlugin(folder.state, every=save_every)
    plugins: list[SupervisedPlugin] = [SeedingPlugin(seed)]
    if schedule == "one_cycle":
        plugins.append(OneCyclePlugin())
    plugins += [state, SamplesPlugin(folder.samples)]
    trackers = []
    if distributed.is_first():
        plugins.append(ProgressPlugin(folder.progress))
        trackers = [TRACKERS[name](folder, settings) for name in dict.fromkeys(loggers)]
    measured = RegressionMetrics(
        choose_metrics(metrics, "metrics="), card.voxel_size_um
    )
    loop["evaluator"] = evaluator_with(measured, trackers)
    origin = {"scenario": benchmark.scenario.name, "strategy": strategy, "seed": seed}
    return Run(
        folder=folder,
        benchmark=benchmark,
        strategy=DenseStrategy(
            model=net,
            method=method,
            plugins=plugins,
            optimizer=torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True),
            **loop,
        ),
        state=state,
        card=replace(card, versions=versions(), run={**origin, **card.run}),
        trackers=trackers,
    )
