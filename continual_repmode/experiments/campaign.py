"""Carries out the runs that tables need and that nobody has done yet.

A run is known by the hash of its settings. Its record says that it is done, its folder
how far it is, and ``error.txt`` in there why it failed.
"""

import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from filelock import Timeout

from continual_repmode.compose import compose_runs, quoted
from continual_repmode.config.run import RunConfig
from continual_repmode.errors import UserError
from continual_repmode.experiments.planned import Places, PlannedRun
from continual_repmode.experiments.record import RunRecord
from continual_repmode.files import write_whole
from continual_repmode.processes import command_line
from continual_repmode.results import RunFolder
from continual_repmode.workers import Workers

Work = Callable[[PlannedRun, RunConfig, RunFolder], RunRecord]
"""Carries out a run, or resumes it, in its folder; returns its record."""


def run_missing(
    wanted: Sequence[PlannedRun],
    places: Places,
    workers: Workers,
    work: Work,
) -> None:
    """Carry out the runs that have no record, those that others start from first.

    A run that fails does not stop the others.
    """
    missing = {run.key: run for run in wanted if places.find(run) is None}
    say(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done")
    first: dict[str, PlannedRun] = {}
    for run in wanted:
        if run.base is None:
            if run.key in missing:
                first.setdefault(run.key, run)
        elif places.find(run.base) is None or (
            run.key in missing and not places.has_base_model(run.base)
        ):
            first.setdefault(run.base.key, run.base)
    then = {key: run for key, run in missing.items() if run.base is not None}
    job = _Job(runs={**first, **then}, places=places, work=work, began=time.time())
    for run in job.runs.values():
        places.error(run).unlink(missing_ok=True)  # of an earlier call
    _carry_out(list(first.values()), job, workers)
    able = [run for run in then.values() if _has_base(run, places)]
    _carry_out(able, job, workers)


def measure_again(
    wanted: Sequence[PlannedRun],
    places: Places,
    measure: Callable[[RunRecord, RunFolder], RunRecord],
) -> None:
    """Measure what finished runs cost once more, if their folders are still there."""
    for run in {run.key: run for run in wanted}.values():
        record, folder = places.find(run), places.folder(run)
        if record is None:
            continue
        if not folder.config.is_file():
            say(f"{run.name}: its folder {folder.path} is gone")
            continue
        say(f"costs of {run.name}")
        try:
            measure(record, folder).save(places.record(run))
        except Exception as error:  # the other runs go on
            say(f"{run.name}: costs not measured: {one_line(error)}")


def _has_base(run: PlannedRun, places: Places) -> bool:
    """Tell whether what a run starts from is there."""
    if run.base is None or places.has_base_model(run.base):
        return True
    say(f"{run.name}: left out; its base run: {places.reason(run.base)}")
    return False


def _carry_out(runs: Sequence[PlannedRun], job: "_Job", workers: Workers) -> None:
    configs = compose_runs([_overrides(run, job.places) for run in runs])
    items = list(zip(runs, configs, strict=True))
    with closing(workers.for_items(len(runs)).work(job, items)) as ended:
        for number, (index, outcome) in enumerate(ended, start=1):
            if isinstance(outcome, UserError):  # its worker died
                job.note_failure(runs[index], outcome, str(outcome))
            elif not workers.are_here:
                say(f"{runs[index].name}: over, {number} of {len(runs)}")


def _overrides(run: PlannedRun, places: Places) -> tuple[str, ...]:
    if run.base is None:
        return run.overrides
    model = quoted(str(places.base_model(run.base)))
    return (*run.overrides, f"base_model={model}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Job:
    """Carries out a run, perhaps in another process."""

    runs: Mapping[str, PlannedRun]
    places: Places
    work: Work
    began: float

    def __call__(self, item: tuple[PlannedRun, RunConfig]) -> None:
        run, config = item
        say(f"{self._progress(run)}: {run.name}")
        try:
            with self.places.lock(run):
                self._carry_out(run, config)
        except Timeout:
            say(f"{run.name}: left out, in use by another process")

    def _carry_out(self, run: PlannedRun, config: RunConfig) -> None:
        folder = self.places.folder(run)
        if self._is_over(run):
            return  # another process has done it meanwhile
        if folder.config.is_file() and not self.places.is_of(run):
            shutil.rmtree(folder.path)
        folder.path.mkdir(parents=True, exist_ok=True)
        try:
            record = self.work(run, config, folder)
        except Exception as error:  # the other runs go on
            self.note_failure(run, error, traceback.format_exc())
            return
        record.save(self.places.record(run))

    def note_failure(self, run: PlannedRun, error: Exception, details: str) -> None:
        """Say why a run failed, here and in its folder."""
        reason = one_line(error)
        command = f"continual-repmode run {command_line(run.overrides)}"
        path = self.places.error(run)
        write_whole(path, f"{reason}\n\n{command}\n\n{details}")
        say(f"{run.name}: failed: {reason}; see {path}")

    def _progress(self, run: PlannedRun) -> str:
        """Say which run of how many this is, and how long the rest may take."""
        number = list(self.runs).index(run.key)
        text = f"run {number + 1} of {len(self.runs)}"
        over = sum(map(self._is_over, self.runs.values()))
        if not over:
            return text
        seconds = (time.time() - self.began) / over * (len(self.runs) - over)
        return f"{text}, about {seconds / 60:.0f} min left"

    def _is_over(self, run: PlannedRun) -> bool:
        """Tell whether a run has ended since this call began, well or not."""
        record = self.places.record(run)
        ended = record.is_file() and record.stat().st_mtime >= self.began
        return ended or self.places.error(run).is_file()


def one_line(error: Exception) -> str:
    """Return what an error says, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def say(line: str) -> None:
    """Tell people what happens, on stderr."""
    print(line, file=sys.stderr, flush=True)
