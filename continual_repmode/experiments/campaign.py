"""Carries out the runs that tables need and that nobody has done yet.

A run is known by the hash of its settings. Its record says that it is done, its folder
how far it is, and ``error.txt`` in there why it failed.
"""

import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from continual_repmode.compose import compose_runs, quoted
from continual_repmode.config.run import RunConfig, load_run_config
from continual_repmode.errors import UserError
from continual_repmode.experiments.identity import (
    default_settings,
    resolved_settings,
    run_key,
    same_settings,
)
from continual_repmode.experiments.record import RunRecord
from continual_repmode.experiments.table import Row
from continual_repmode.results import RunFolder
from continual_repmode.runtime import write_text_atomically
from continual_repmode.workers import Workers


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One run of a row.

    Attributes
    ----------
    label : str
        Of its row, for people.
    seed : int
    key : str
        Hash of its settings.
    settings : dict
        ``group.name`` -> value of all that decide the results.
    overrides : tuple of str
        Its settings in Hydra's syntax.
    base : PlannedRun or None
        The run whose network it starts from.
    """

    label: str
    seed: int
    key: str
    settings: dict[str, Any]
    overrides: tuple[str, ...]
    base: "PlannedRun | None" = None

    @property
    def name(self) -> str:
        """What people know it by."""
        return f"{self.label}, seed {self.seed}"


Work = Callable[[PlannedRun, RunConfig, RunFolder], RunRecord]
"""Carries out a run, or goes on with it, in its folder; returns its record."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where records and run folders are.

    Parameters
    ----------
    results : Path
        Kept, for instance in a repository: records, tables and figures.
    runs : Path
        Run folders; they may be deleted once their records are there.
    """

    results: Path
    runs: Path

    def record(self, run: PlannedRun) -> Path:
        """Return the path of a run's record."""
        return self.results / "runs" / f"{run.key}.json"

    def folder(self, run: PlannedRun) -> RunFolder:
        """Return a run's folder."""
        return RunFolder(self.runs / run.key)

    def error(self, run: PlannedRun) -> Path:
        """Return the path of what a failed run tells."""
        return self.runs / run.key / "error.txt"

    def lock(self, run: PlannedRun) -> FileLock:
        """Return what the process that carries a run out holds."""
        self.runs.mkdir(parents=True, exist_ok=True)
        return FileLock(self.runs / f"{run.key}.lock", timeout=0)

    def base_model(self, run: PlannedRun) -> Path:
        """Return the network after the first experience of a run."""
        return self.folder(run).checkpoint(0).resolve()

    def is_of(self, run: PlannedRun) -> bool:
        """Tell whether a run's folder was made with its settings.

        It was not if a default, or a volume behind a manifest, has changed since, or
        if it is of a version whose settings are unknown here.
        """
        config = self.folder(run).config
        if not config.is_file():
            return False
        try:
            made = load_run_config(config.read_text(encoding="utf-8"))
            return same_settings(resolved_settings(made), run.settings)
        except UserError:
            return False

    def has_base_model(self, run: PlannedRun) -> bool:
        """Tell whether the network after a run's first experience is there."""
        return self.base_model(run).is_file() and self.is_of(run)

    def find(self, run: PlannedRun) -> RunRecord | None:
        """Return a run's record if it is done.

        Raises
        ------
        UserError
            If the record is damaged.
        """
        path = self.record(run)
        if not path.is_file():
            return None
        record = RunRecord.load(path)
        return record if same_settings(record.settings, run.settings) else None

    def reason(self, run: PlannedRun) -> str:
        """Say why there is no record of a run."""
        if self.error(run).is_file():
            first = self.error(run).read_text(encoding="utf-8").splitlines()[0]
            return f"failed: {first}"
        if run.base is not None and self.error(run.base).is_file():
            return f"its base run {self.reason(run.base)}"
        return "not run yet"


def plan(
    rows: Sequence[Row], common: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[PlannedRun]]:
    """Say which runs some rows consist of.

    Parameters
    ----------
    rows : sequence of Row
    common : sequence of str
        Settings of all runs, which come after those of the rows.
    seeds : sequence of int

    Returns
    -------
    dict of str to list of PlannedRun
        Name of the row -> its runs, in the order of the seeds.

    Raises
    ------
    UserError
        If a setting is unknown, its value cannot be understood, or it makes two rows
        the same.
    """
    wanted = {settings for row in rows for settings in (row.settings, row.base or ())}
    settings_of = {settings: (*settings, *common) for settings in wanted if settings}
    configs = compose_runs(list(settings_of.values()))
    resolved = dict(zip(settings_of, map(resolved_settings, configs), strict=True))
    defaults = dict(zip(settings_of, map(default_settings, configs), strict=True))

    def planned(
        label: str, settings: tuple[str, ...], seed: int, base: PlannedRun | None
    ) -> PlannedRun:
        values = {**resolved[settings], "seed": seed}
        return PlannedRun(
            label=label,
            seed=seed,
            key=run_key(values, defaults[settings], base.key if base else None),
            settings=values,
            overrides=(*settings_of[settings], f"seed={seed}"),
            base=base,
        )

    def run(row: Row, seed: int) -> PlannedRun:
        before = f"base of {row.label}"
        base = planned(before, row.base, seed, None) if row.base else None
        return planned(row.label, row.settings, seed, base)

    runs = {row.name: [run(row, seed) for seed in seeds] for row in rows}
    _check_distinct(runs, common)
    return runs


def _check_distinct(
    runs: Mapping[str, Sequence[PlannedRun]], common: Sequence[str]
) -> None:
    names: dict[str, str] = {}
    for name, (run, *_) in runs.items():
        same = names.setdefault(run.key, name)
        if same != name:
            raise UserError(
                f"{' '.join(common)}: with these settings the rows {same} and {name} "
                "would be the same run; leave out what they differ in"
            )


def run_missing(
    wanted: Sequence[PlannedRun],
    places: Places,
    workers: Workers,
    work: Work,
) -> None:
    """Carry out the runs that have no record, those that others start from first.

    A run that fails does not stop the others.

    Parameters
    ----------
    wanted : sequence of PlannedRun
    places : Places
    workers : Workers
        Who carries them out, a run each.
    work : callable
        See :data:`Work`.
    """
    missing = {run.key: run for run in wanted if places.find(run) is None}
    say(f"{len(wanted) - len(missing)} of {len(wanted)} runs are done")
    first: dict[str, PlannedRun] = {}
    for run in missing.values():
        if run.base is None:
            first.setdefault(run.key, run)
        elif not places.has_base_model(run.base):
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
    """Measure what finished runs cost once more, where their folders are still there.

    Parameters
    ----------
    wanted : sequence of PlannedRun
    places : Places
    measure : callable
        Returns the record with new costs.
    """
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
            say(f"{run.name}: left out, another process is at it")

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
        command = f"continual-repmode run {shlex.join(run.overrides)}"
        path = self.places.error(run)
        write_text_atomically(path, f"{reason}\n\n{command}\n\n{details}")
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
    """Tell people what happens, beside the results."""
    print(line, file=sys.stderr, flush=True)
