"""Shows where a run is: nested bars on a terminal, a few lines elsewhere, a file."""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from continual_repmode.results import write_json
from continual_repmode.tasks import display_name
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.context import (
    ExperienceContext,
    context_of,
    task_names_of,
)

_LINES = 5  # per experience, where there is no terminal
_EVERY_S = 2.0  # seconds between two writings of the file
_BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
"""Without the bar's own rate and time left, which know nothing of validations."""


@dataclass(slots=True)
class TimeLeft:
    """Foretells how long the rest of an experience takes, validations included.

    ``epochs_s``, ``validations_s``: seconds that the epochs and the validations took
        which were seen.
    ``num_epochs``, ``num_validations``: how many they were.
    """

    #: Work of a validation, in that of an epoch of training: what is assumed until one
    #: has been timed.
    cost_epochs: float
    epochs_s: float = 0.0
    num_epochs: int = 0
    validations_s: float = 0.0
    num_validations: int = 0

    def add(self, epoch_s: float, validation_s: float | None) -> None:
        """Count an epoch, and its validation unless it had none."""
        self.epochs_s += epoch_s
        self.num_epochs += 1
        if validation_s is not None:
            self.validations_s += validation_s
            self.num_validations += 1

    def seconds(self, epochs: int, validations: int) -> float:
        """Return the time for so many more; at least one epoch must have been seen."""
        epoch_s = self.epochs_s / self.num_epochs
        validation_s = epoch_s * self.cost_epochs
        if self.num_validations:
            validation_s = self.validations_s / self.num_validations
        return epochs * epoch_s + validations * validation_s


@dataclass(slots=True)
class RunTimeLeft:
    """Foretells how long the rest of a stream takes, tests included.

    Later experiences are taken to need as long for an epoch and image as the one that
    is learned, with the same share of validations.
    """

    #: Of the experience that is learned.
    context: ExperienceContext
    index: int
    #: Of every later experience.
    later_epochs: int
    #: Seconds of an epoch, for each training image, validations included.
    image_s: float | None = None
    #: Seconds of a test, for each image.
    test_s: float | None = None

    def seconds(self) -> float | None:
        """Return the time from the test of this experience to the end of the run."""
        if self.image_s is None or self.test_s is None:
            return None
        num_train, num_test = self.context.num_train, self.context.num_test
        learned = sum(num_train[self.index + 1 :]) * self.later_epochs
        tests = range(self.index, self.context.num_experiences)
        tested = sum(sum(num_test[: index + 1]) for index in tests)
        return learned * self.image_s + tested * self.test_s


class ProgressPlugin(SupervisedPlugin):  # type: ignore[misc] # Avalanche is untyped
    """Report experience, epoch, loss and time left.

    On a terminal: a bar for the epochs with a bar for the steps under it. Elsewhere,
    for instance in a log file: five lines per experience and one per evaluation. The
    time left is that of the experience, without its test.

    Parameters
    ----------
    path : Path, optional
        A JSON file that says the same, for ``continual-repmode status``.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self._path, self._written = path, 0.0
        self._facts: dict[str, Any] = {}
        self._terminal = sys.stderr.isatty()
        self._epochs: Any = None
        self._steps: Any = None
        self._left = TimeLeft(0.0)
        self._run: RunTimeLeft | None = None
        self._began = self._trained = self._tested = 0.0

    def before_training_exp(self, strategy: Any, **_: Any) -> None:
        """Open the bar of the epochs."""
        self._left = TimeLeft(strategy.validation.cost_epochs)
        self._epochs = tqdm(
            desc=_title(strategy.experience),
            total=strategy.train_epochs,
            unit="epoch",
            bar_format=_BAR,
            disable=not self._terminal,
        )
        self._note(strategy, "training", strategy.train_epochs)

    def before_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Open the bar of the steps."""
        self._began = time.perf_counter()
        if self._epochs.n < strategy.clock.train_exp_epochs:  # a resumed run
            self._epochs.initial = strategy.clock.train_exp_epochs
            self._epochs.update(strategy.clock.train_exp_epochs - self._epochs.n)
        self._steps = tqdm(
            desc="  steps",
            total=len(strategy.dataloader),
            unit="step",
            leave=False,
            disable=not self._terminal,
        )

    def after_training_iteration(self, strategy: Any, **_: Any) -> None:
        """Count a step."""
        self._trained = time.perf_counter()
        self._steps.set_postfix(
            loss=f"{strategy.loss.detach().item():.3f}", refresh=False
        )
        self._steps.update()

    def after_training_epoch(self, strategy: Any, **_: Any) -> None:
        """Count an epoch; without a terminal, print a line now and then."""
        self._steps.close()
        validation, last = strategy.validation, strategy.validation.curve[-1]
        epochs_left = strategy.train_epochs - last.epoch
        text = f"loss {last.train_loss:.3f}"
        if validation.best_epoch:
            text += f", best validation MSE {validation.best_mse:.3f}"
        self._count_time(validated=last.valid_mse is not None)
        if epochs_left:
            seconds = self._left.seconds(
                epochs_left, validation.num_left(last.epoch, strategy.train_epochs)
            )
            text += f", about {tqdm.format_interval(seconds)} left"
            self._facts["seconds_left"] = round(seconds, 1)
        self._note_run(strategy)
        self._facts |= {"epoch": last.epoch, "said": text}
        self._write()
        self._epochs.set_postfix_str(text, refresh=False)
        self._epochs.update()
        stride = max(1, strategy.train_epochs // _LINES)
        if not self._terminal and (
            last.epoch % stride == 0 or last.epoch == strategy.train_epochs
        ):
            title = _title(strategy.experience)
            _say(f"{title}: epoch {last.epoch}/{strategy.train_epochs}, {text}")

    def _note_run(self, strategy: Any) -> None:
        """Note how long the whole run takes yet, as this experience went so far."""
        run, left, epochs = self._run, self._left, strategy.train_epochs
        if run is None or not left.num_epochs:
            return
        validation = strategy.validation
        whole_s = left.seconds(epochs, validation.num_left(0, epochs))
        run.image_s = whole_s / epochs / max(1, len(strategy.train_pairs))
        if not self._tested and (images := len(strategy.validation_pairs)):
            run.test_s = left.seconds(0, 1) / images
        now, rest = self._facts["seconds_left"], run.seconds()
        known = now is not None and rest is not None
        self._facts["run_seconds_left"] = now + rest if known else rest

    def _count_time(self, *, validated: bool) -> None:
        """Take the time since the last step of the epoch as that of its validation."""
        now = time.perf_counter()
        if validated:
            self._left.add(self._trained - self._began, now - self._trained)
        else:
            self._left.add(now - self._began, None)

    def after_training_exp(self, strategy: Any, **_: Any) -> None:
        """Close the bar of the epochs."""
        self._epochs.close()

    def before_eval(self, strategy: Any, **_: Any) -> None:
        """Open the bar of the test volumes."""
        volumes = sum(len(exp.dataset) for exp in strategy.current_eval_stream)
        self._began = time.perf_counter()
        rest = self._run.seconds() if self._run else None
        self._facts |= {"doing": "testing", "run_seconds_left": rest}
        self._write(now=True)
        if not self._terminal:
            _say(f"  testing on {volumes} volumes")
        self._steps = tqdm(
            desc="  testing",
            total=volumes,
            unit="volume",
            leave=False,
            disable=not self._terminal,
        )

    def after_eval_iteration(self, strategy: Any, **_: Any) -> None:
        """Count a volume."""
        self._steps.update()

    def after_eval(self, strategy: Any, **_: Any) -> None:
        """Close the bar of the test volumes."""
        if self._run and self._steps.total:
            self._tested = time.perf_counter() - self._began
            self._run.test_s = self._tested / self._steps.total
        self._steps.close()

    def close(self) -> None:
        """Take the bars off the terminal, at the end or when it is interrupted."""
        for bar in (self._steps, self._epochs):
            if bar is not None:
                bar.leave = bar.leave and bar.n >= bar.total
                bar.close()
        self._steps = self._epochs = None
        self._write(now=True)

    def _note(self, strategy: Any, doing: str, epochs: int) -> None:
        """Begin to tell of an experience."""
        now = time.time()
        facts = {"since": now, "pid": os.getpid(), **self._facts}
        index = strategy.experience.current_experience
        context = context_of(strategy.experience)
        before = self._run
        self._run = RunTimeLeft(context, index, later_epochs=strategy.epochs[1])
        if before:
            self._run.image_s, self._run.test_s = before.image_s, before.test_s
        self._facts = facts | {
            "doing": doing,
            "experience": index,
            "experiences": context.num_experiences,
            "tasks": task_names_of(strategy.experience),
            "epoch": strategy.first_epoch,
            "epochs": epochs,
            "seconds_left": None,
            "run_seconds_left": self._begun_run(epochs),
            "said": "",
        }
        self._write(now=True)

    def _begun_run(self, epochs: int) -> float | None:
        """Return the time from the start of an experience, as the last one went."""
        run = self._run
        if run is None or run.image_s is None or (rest := run.seconds()) is None:
            return None
        return rest + epochs * run.image_s * run.context.num_train[run.index]

    def _write(self, *, now: bool = False) -> None:
        """Write the file, unless that was a moment ago."""
        if self._path is None or not self._facts:
            return
        if now or time.time() - self._written > _EVERY_S:
            self._written = time.time()
            write_json(self._path, {**self._facts, "updated": self._written})


def _title(experience: Any) -> str:
    names = task_names_of(experience)
    total = context_of(experience).num_experiences
    what = display_name(names[0]) if len(names) == 1 else f"{len(names)} tasks"
    return f"experience {experience.current_experience + 1}/{total} ({what})"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
