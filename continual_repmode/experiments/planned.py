"""The runs that tables need, known by the hash of their settings; where they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from continual_repmode.compose import compose_runs
from continual_repmode.config.run import load_run_config
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


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedRun:
    """One run of a row."""

    #: Of its row, for people.
    label: str
    seed: int
    #: Hash of its settings.
    key: str
    #: ``group.name`` -> value of all that decide the results.
    settings: dict[str, Any]
    #: Its settings in Hydra's syntax.
    overrides: tuple[str, ...]
    #: The run whose network it starts from.
    base: "PlannedRun | None" = None

    @property
    def name(self) -> str:
        """What people know it by."""
        return f"{self.label}, seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Places:
    """Where records and run folders are."""

    #: Kept, for instance in a repository: records, tables and figures.
    results: Path
    #: Run folders; they may be deleted once their records are there.
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

        Raises UserError if the record is damaged.
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

    ``common``: settings of all runs, which come after those of the rows.
    Returns: name of the row -> its runs, in the order of the seeds.
    Raises UserError if a setting is unknown, its value cannot be understood, or it
        makes two rows the same.
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
