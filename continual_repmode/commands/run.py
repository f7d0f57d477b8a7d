"""``continual-repmode run``: learn a stream of tasks and write a run folder.

The path of a run: :mod:`continual_repmode.compose` reads the settings,
:mod:`continual_repmode.build` makes the objects,
:func:`continual_repmode.training.loop.run_stream` trains and tests, and
:mod:`continual_repmode.analysis` turns the records into results, figures and a table.
"""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continual_repmode.errors import UserError
from continual_repmode.offers import offers
from continual_repmode.paths import user_path
from continual_repmode.processes import command_line, started_by_torchrun
from continual_repmode.resources import config_folder
from continual_repmode.scenario import scenario_names
from continual_repmode.stopping import TRY_AGAIN, Interrupted

if TYPE_CHECKING:
    from continual_repmode.assembly import Run
    from continual_repmode.config.run import RunConfig
    from continual_repmode.results import RunFolder

_HELP = """\
Learn a stream of tasks, testing after each experience; write a run folder.

usage: continual-repmode run [SETTING=VALUE ...]
       python -m continual_repmode.run [SETTING=VALUE ...]

settings, their choices (* is the default):
  scenario=   {scenario}
              which tasks arrive when; or the path of your own .yaml file
  data=       {data}
              generated cells, or volumes of yours: data=manifest data.manifest=FILE.csv
  model=      {model}
              RepMode, and the methods that the paper compares it with
  strategy=   {strategy}
              repmode (the best recipe found) and repmode_paper (the paper's) add
              tasks without forgetting; naive fine-tunes everything
  train=      {train}
              quick: minutes on two CPU cores; standard: hours, for comparisons;
              paper: the paper's setup, for a GPU
  experiment= {experiment}
              settings that go together, such as a row of the paper's Table 2
  seed=0      the same seed repeats a run exactly (on the same kind of processor)
  device=     *auto, cpu, cuda
  reference=FOLDER
              a finished run to compute forward transfer against
  base_model=FILE
              a model of the first experience's tasks to start from, not to learn
  loggers=[csv,tensorboard]
              also mlflow and wandb: where learning curves, figures and models go
  hydra.run.dir=FOLDER
              where the results go; otherwise runs/<scenario>/<date>_<time>. The same
              command resumes an interrupted run in FOLDER
  plan=auto   patch, window and epochs proposed from the volumes and the machine,
              where you do not give them; written into config.yaml
  resume=FOLDER
              resume an interrupted run; all settings come from the folder

A single value has a dot: train.epochs=100 model.width=16 data.num_train=20.
`--cfg job` prints every setting without running.
`torchrun --nproc-per-node 4 -m continual_repmode.run SETTING=VALUE ...` trains with
four processes; train.batch_size stays that of all together.
`-m` runs all combinations: continual-repmode run -m seed=0,1,2 strategy=repmode,naive
hydra.sweep.dir=FOLDER says where; hydra/launcher=NAME where they run (docs/cluster.md).

example: continual-repmode run scenario=leave_one_out scenario.new_task=mitochondria
"""


def main(arguments: Sequence[str]) -> int:
    """Run with these settings; return the exit status.

    Raises UserError if a setting is unknown or its value bad, or the data do not allow
        the run.
    """
    if {"-h", "--help"} & set(arguments):
        print(_help())
        return 0
    if started_by_torchrun():
        from continual_repmode.assembly import joined_processes

        with joined_processes():
            return _run(arguments)
    return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    resumed = [a.removeprefix("resume=") for a in arguments if a.startswith("resume=")]
    if resumed:
        if len(arguments) > 1:
            raise UserError(
                "resume=FOLDER takes all settings from there: give it alone"
            )
        return resume(user_path(resumed[0]))
    from continual_repmode.compose import launch

    return launch(arguments, start)


def start(config: "RunConfig", path: Path, overrides: Sequence[str]) -> None:
    """Begin a run in a new folder, or resume the same run in its folder.

    Raises UserError if the folder holds another run or is in use, or the run cannot be
        built.
    """
    from continual_repmode import distributed
    from continual_repmode.build import build_run
    from continual_repmode.combinations import unused_settings
    from continual_repmode.config.run import dump_run_config
    from continual_repmode.files import write_whole
    from continual_repmode.results import RunFolder

    folder = RunFolder(distributed.of_first(path))
    with folder.held():
        begun = distributed.of_first(folder.config.exists())
        written = folder.config.read_text(encoding="utf-8") if begun else ""
        config, note = _planned(config, written, overrides)
        settings = note + dump_run_config(config)
        if begun and written != settings:
            raise UserError(
                f"{path} already holds a run with other settings: resume it with "
                f"resume={path}, or choose another folder with hydra.run.dir=FOLDER"
            )
        told = unused_settings(config, overrides) if distributed.is_first() else []
        for line in told:
            print(f"note: {line}", file=sys.stderr)
        _go_back(folder)
        reference = _read_reference(config)
        run = build_run(config, folder)
        if not begun and distributed.is_first():
            run.write_header(command_line(["continual-repmode", "run", *overrides]))
            write_whole(folder.config, settings)
        _carry_out(run, reference, config.figures)


def _planned(
    config: "RunConfig", written: str, overrides: Sequence[str]
) -> "tuple[RunConfig, str]":
    """Return the settings with a plan, if one is wanted, and what it expects.

    Where the run was begun already, its plan stays.
    """
    if config.plan is None:
        return config, ""
    from continual_repmode import distributed
    from continual_repmode.config.run import load_run_config
    from continual_repmode.run_plan import taken_from, with_plan

    if written:
        first = written.splitlines(keepends=True)[0]
        note = first if first.startswith("#") else ""
        return taken_from(config, load_run_config(written)), note
    config, plan = distributed.of_first(with_plan(config, overrides))
    if distributed.is_first():
        print(f"plan: {plan}", file=sys.stderr)
    return config, f"# plan: {plan}\n"


def resume(path: Path) -> int:
    """Go on with an interrupted run; return the exit status.

    Raises UserError if the folder is not that of a run, or is in use.
    """
    from continual_repmode import distributed
    from continual_repmode.build import build_run
    from continual_repmode.config.run import load_run_config
    from continual_repmode.results import RunFolder

    folder = RunFolder(path)
    if not folder.config.is_file():
        raise UserError(
            f"resume={path}: no config.yaml there; name the folder of a run, for "
            "example runs/incremental/2026-01-31_12-00-00"
        )
    with folder.held():
        text = folder.config.read_text(encoding="utf-8", errors="replace")
        config = load_run_config(text)
        reference = _read_reference(config)
        _go_back(folder)
        run = build_run(config, folder)
        if distributed.is_first() and folder.sound_header() is None:
            print(f"{folder.header}: damaged; written again", file=sys.stderr)
            run.write_header(
                command_line(["continual-repmode", "run", f"resume={path}"])
            )
        _carry_out(run, reference, config.figures)
    return 0


def _go_back(folder: "RunFolder") -> None:
    """Forget experiences that cannot be gone on from, and say so."""
    from continual_repmode import distributed

    if told := distributed.of_first(distributed.is_first() and folder.go_back()):
        print(told, file=sys.stderr)


def _read_reference(config: "RunConfig") -> dict[str, Any] | None:
    from continual_repmode.analysis.continual import check_reference
    from continual_repmode.results import RunFolder

    if config.reference is None:
        return None
    return check_reference(RunFolder(config.reference).read_results())


def _carry_out(
    run: "Run", reference: dict[str, Any] | None, formats: Sequence[str]
) -> None:
    """Train and test what is left, then write figures and print the table."""
    from continual_repmode import distributed
    from continual_repmode.analysis.continual import publish
    from continual_repmode.analysis.plots import save_figures
    from continual_repmode.analysis.table import format_table

    folder = run.folder
    if distributed.is_first():
        print(f"run folder: {folder.path}", file=sys.stderr)
    try:
        with run.tracking():
            with distributed.errors_told_once():
                run.learn(
                    lambda: _publish(run, reference),
                    adopt_first="base_model" in run.card.run,
                )
            if not distributed.is_first():
                return
            publish(folder, reference)
            run.show(*save_figures(folder, *formats))
            run.hand_over()
    except KeyboardInterrupt as stop:
        if not distributed.is_first():
            raise SystemExit(TRY_AGAIN) from stop  # the first one says how to go on
        command = ["continual-repmode", "run", f"resume={folder.path}"]
        raise Interrupted(command_line(command)) from stop
    print(format_table(folder.read_results()))
    print(f"results, figures and models: {folder.path}")


def _publish(run: "Run", reference: dict[str, Any] | None) -> None:
    """Write results and samples as they are after an experience."""
    from continual_repmode.analysis.continual import publish
    from continual_repmode.analysis.plots import plot_samples, save_figure

    publish(run.folder, reference)
    if run.trackers:
        figure = plot_samples(run.folder, run.card.voxel_size_um)
        run.show(save_figure(figure, run.folder.figures / "samples.png"))


def _help() -> str:
    defaults = {
        "scenario": "incremental",
        "data": "synthetic",
        "model": "repmode",
        "strategy": "repmode",
        "train": "quick",
        "experiment": None,
    }
    return _HELP.format_map(
        {group: _choices(group, default) for group, default in defaults.items()}
    )


def _choices(group: str, default: str | None) -> str:
    """Return the options of a group as a wrapped list that starts in column 14."""
    folder = config_folder() / group
    files = (path.relative_to(folder) for path in folder.rglob("*.yaml"))
    names = {path.with_suffix("").as_posix() for path in files}
    if what := {"model": "networks", "strategy": "strategies"}.get(group):
        names |= offers(what).keys()
    found = scenario_names() if group == "scenario" else sorted(names)
    text = ", ".join("*" * (name == default) + name for name in found)
    lines = textwrap.wrap(text, 88 - 14, break_on_hyphens=False)
    return ("\n" + " " * 14).join(lines)
