"""``continual-repmode tables``: run what a table of results needs, and write it."""

import contextlib
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from continual_repmode.errors import UserError, nearest
from continual_repmode.experiments.table import Table
from continual_repmode.experiments.tables import TABLES
from continual_repmode.option_fields import refuse_repeated_settings
from continual_repmode.paths import user_path
from continual_repmode.stopping import Interrupted
from continual_repmode.workers import Workers

if TYPE_CHECKING:
    from continual_repmode.config.run import RunConfig
    from continual_repmode.experiments.planned import Places, PlannedRun
    from continual_repmode.experiments.record import RunRecord
    from continual_repmode.results import RunFolder

_HELP = """\
Run what a table of results needs, and write the table.

usage: continual-repmode tables TABLE [SETTING=VALUE ...]

tables:
{tables}

settings:
  train=mini      minutes per run on two CPU cores; train=standard: ten times the steps;
                  train=paper: the paper's, on a GPU
  seeds=0         seeds of every row, such as seeds=0,1,2
  rows=A,B        run only these rows (default: all that are missing)
  run=true        false: write the table from what is there, run nothing
  costs=keep      again: measure seconds and memory of finished runs once more, for
                  instance because the machine was busy
  results=results where the table goes, and one small file for each finished run
  data=, data.manifest=, train.epochs=, device=, ...
                  as for `continual-repmode run`, for every row
  workers=1       processes that share the runs; each needs the memory of a run
  scheduler=tcp://HOST:8786
                  instead: a Dask cluster, by address or scheduler file
                  (docs/cluster.md)

Finished runs are found by their settings and not repeated, whatever table they were run
for; failed ones are tried again, interrupted ones go on where they were. Run folders
are in runs/tables. Stop with Ctrl-C at any time: what is done stays.

example: continual-repmode tables table3 seeds=0,1,2
"""

_OF_ONE_RUN = frozenset(
    {
        "base_model",
        "experiment",
        "model",
        "reference",
        "resume",
        "scenario",
        "strategy",
    }
)


def main(arguments: Sequence[str]) -> int:
    """Write one table; return 0 if all its runs are there, 3 if some are missing.

    Raises UserError if there is no such table, a setting is unknown, or the results
        cannot be written.
    """
    if not arguments or {"-h", "--help"} & set(arguments):
        print(_help())
        return 0
    chosen = _parse(arguments)

    from continual_repmode.experiments.campaign import measure_again, run_missing
    from continual_repmode.experiments.grids import aligned, overview
    from continual_repmode.experiments.planned import Places, plan
    from continual_repmode.experiments.report import gather, write_table

    table, places = chosen.table, Places(chosen.results, Path("runs", "tables"))
    planned = plan(table.rows, chosen.common, chosen.seeds)
    _make_folders(chosen, places)
    wanted = [run for name in chosen.rows for run in planned[name]]
    try:
        if chosen.run:
            run_missing(wanted, places, chosen.workers, train_and_measure)
        if chosen.costs_again:
            measure_again(wanted, places, measure_costs_again)
    finally:  # also if interrupted: what is done is shown
        measured = gather(table, planned, chosen.common, places)
        files = write_table(measured, chosen.results)
        print(aligned(overview(measured)))
        print("written: " + ", ".join(map(str, files)))
    return 3 if any(found.missing for found in measured.rows) else 0


def _make_folders(chosen: "_Chosen", places: "Places") -> None:
    """Make sure, before any run, that results can be written, and run folders."""
    remedies = {chosen.results / "runs": "name another place with results=FOLDER"}
    if chosen.run:
        remedies[places.runs] = "run folders go there: move away what is in its place"
    for folder, remedy in remedies.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}; {remedy}") from error


def train_and_measure(
    run: "PlannedRun", config: "RunConfig", folder: "RunFolder"
) -> "RunRecord":
    """Carry a run out, or resume it, and measure what it costs.

    What it prints goes to ``output.txt`` in its folder.
    """
    from continual_repmode.commands.run import resume, start
    from continual_repmode.config.run import dump_run_config
    from continual_repmode.experiments.costs import measure_costs
    from continual_repmode.experiments.record import make_record
    from continual_repmode.files import write_whole

    log = (folder.path / "output.txt").open("a", encoding="utf-8", newline="\n")
    with log, contextlib.redirect_stdout(log):
        try:
            if folder.config.is_file():  # with the paths and the device of today
                write_whole(folder.config, dump_run_config(config))
                resume(folder.path)
            else:
                start(config, folder.path, run.overrides)
        except Interrupted as stop:
            raise Interrupted from stop  # the table goes on, not this run alone
        costs = measure_costs(config, folder)
    return make_record(
        folder,
        key=run.key,
        base=run.base.key if run.base else None,
        settings=run.settings,
        config=config,
        costs=costs,
    )


def measure_costs_again(record: "RunRecord", folder: "RunFolder") -> "RunRecord":
    """Return a finished run's record with costs measured now."""
    from continual_repmode.config.run import load_run_config
    from continual_repmode.experiments.costs import measure_costs

    config = load_run_config(folder.config.read_text(encoding="utf-8"))
    return record.with_costs(measure_costs(config, folder), config.device)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chosen:
    table: Table
    rows: list[str]
    seeds: list[int]
    results: Path
    run: bool
    costs_again: bool
    common: list[str]
    workers: Workers


def _parse(arguments: Sequence[str]) -> _Chosen:
    name, *settings = arguments
    refuse_repeated_settings(settings)
    if name not in TABLES:
        known = ", ".join(TABLES)
        raise UserError(f"there is no table {name!r}: choose one of {known}")
    table = TABLES[name]
    own = {
        "seeds": "0",
        "rows": "",
        "run": "true",
        "costs": "keep",
        "results": "results",
        "workers": "1",
        "scheduler": "",
    }
    common = ["train=mini"]
    for word in settings:
        key, equal, value = word.partition("=")
        if key in own and equal:
            own[key] = value
        elif key in {"hydra.run.dir", "hydra.sweep.dir"}:
            raise UserError(f"{word}: run folders of tables are in runs/tables")
        elif key.startswith(("hydra/", "hydra.")):
            raise UserError(
                f"{word}: runs of tables are shared out with workers=N or "
                "scheduler=ADDRESS; give one of these"
            )
        elif key == "train":
            common[0] = word
        elif key in {"seed", "-m", "--multirun"}:
            raise UserError(f"{word}: give seeds=0,1,2; every row is run for each")
        elif key in _OF_ONE_RUN:
            raise UserError(
                f"{word}: a table decides that for each of its rows; leave it out, or "
                "use `continual-repmode run`"
            )
        else:
            _check_name(word, own)
            common.append(word)
    if own["run"] not in {"true", "false"}:
        raise UserError(f"run={own['run']}: must be true or false")
    if own["costs"] not in {"keep", "again"}:
        raise UserError(f"costs={own['costs']}: must be keep or again")
    given = {word.partition("=")[0] for word in settings}
    unused = {"workers"} if own["scheduler"] else set()
    why = "scheduler="
    if own["run"] == "false" and own["costs"] == "keep":
        unused, why = {"rows", "workers", "scheduler"}, "run=false"
    for name in sorted(unused & given):
        print(f"note: {name}: without effect with {why}", file=sys.stderr)
    rows = [table.row(row).name for row in own["rows"].split(",") if row]
    return _Chosen(
        table=table,
        rows=rows or [row.name for row in table.rows],
        seeds=_seeds(own["seeds"]),
        results=user_path(own["results"]),
        run=own["run"] == "true",
        costs_again=own["costs"] == "again",
        common=common,
        workers=_workers(own["workers"], own["scheduler"]),
    )


def _check_name(word: str, own: Collection[str]) -> None:
    """Refuse a setting that neither tables nor runs have; compose knows the dotted."""
    from continual_repmode.config.run import setting_options

    name = word.partition("=")[0]
    runs = [*filter(str.isidentifier, setting_options()), "experiment"]
    if not name.isidentifier() or name in runs:
        return
    known = f"{', '.join(own)} and what `continual-repmode run --help` lists"
    hint = nearest(name, [*own, *runs], otherwise=known)
    raise UserError(f"{word}: there is no setting {name!r}: {hint}")


def _workers(count: str, scheduler: str) -> Workers:
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"workers={count}: give a whole number, 1 or more")
    return Workers(int(count), scheduler or None)


def _seeds(text: str) -> list[int]:
    words = text.strip("[]").split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise UserError(f"seeds={text}: give whole numbers, such as seeds=0,1,2")
    return sorted({int(word) for word in words})


def _help() -> str:
    width = max(map(len, TABLES))
    lines = [f"  {name:<{width}}  {table.title}" for name, table in TABLES.items()]
    return _HELP.format(tables="\n".join(lines))
