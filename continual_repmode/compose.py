"""Lets Hydra compose the settings of a run, and tells its errors in one line."""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from continual_repmode.config.run import (
    RunConfig,
    offered,
    one_line,
    register_configs,
    register_scenario,
    schema_of,
    setting_options,
    to_run_config,
)
from continual_repmode.errors import UserError, nearest
from continual_repmode.resources import config_folder
from continual_repmode.scenario import load_scenario, scenario_names
from continual_repmode.workers import Interrupted

_OF_JOB = "raised by the run itself, not by making its folder"


def launch(
    arguments: Sequence[str], job: Callable[[RunConfig, Path, Sequence[str]], None]
) -> int:
    """Call ``job`` once, or for each combination of a sweep.

    A mistake in one combination of a sweep does not stop the others.

    Parameters
    ----------
    arguments : sequence of str
        Settings in Hydra's syntax; ``scenario`` may also be the path of a YAML file.
    job : callable
        Called with the settings, the output folder and the settings that were given.

    Returns
    -------
    int
        Exit status: 0, or 2 if a job raised :class:`UserError`.

    Raises
    ------
    UserError
        If a setting is unknown, its value cannot be understood, or the output folder
        cannot be made.
    """
    register_configs()
    words = _register_scenarios(arguments)
    words.sort(key=lambda word: word not in {"-m", "--multirun"})  # argparse needs it
    _check_flags(words)
    sys.argv = ["continual-repmode run", *words]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and we tell it in one line
    failures: list[UserError] = []
    sweeps: list[str] = []
    this_process = os.getpid()

    def guarded(composed: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            sweeps.append(hydra_config.sweep.dir)
        folder = Path(hydra_config.runtime.output_dir)
        try:
            job(to_run_config(composed), folder, hydra_config.overrides.task)
        except UserError as error:
            _remove_empty(folder)
            if os.getpid() != this_process:
                raise  # the launcher hands it on
            failures.append(error)
        except OSError as error:
            error.add_note(_OF_JOB)  # kept where another process did the job
            raise

    decorate = hydra.main(
        config_path=str(config_folder()), config_name="run", version_base="1.3"
    )
    try:
        with _errors_in_one_line():
            decorate(guarded)()
    except KeyboardInterrupt as stop:
        if not sweeps:
            raise
        where = [f"hydra.sweep.dir={quoted(sweeps[-1])}"]
        if any(word.startswith("hydra.sweep.dir=") for word in words):
            where = []
        again = shlex.join(["continual-repmode", "run", *words, *where])
        raise Interrupted(again) from stop
    except OSError as error:
        if _OF_JOB in getattr(error, "__notes__", ()):
            raise
        raise UserError(
            f"{error.filename}: {error.strerror}; choose another folder for the "
            "results: hydra.run.dir=FOLDER, or hydra.sweep.dir=FOLDER with -m"
        ) from error
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def compose_runs(runs: Sequence[Sequence[str]]) -> list[RunConfig]:
    """Return the settings of runs without carrying them out.

    Parameters
    ----------
    runs : sequence of sequence of str
        Settings of each run in Hydra's syntax; ``scenario`` may also be the path of a
        YAML file.

    Raises
    ------
    UserError
        If a setting is unknown or its value cannot be understood.
    """
    with _hydra() as main, _errors_in_one_line():
        compose = _Composer(main)
        _register_scenarios([])
        return [to_run_config(compose(_register_files(run))) for run in runs]


class _Composer:
    """Composes settings as Hydra does, each choice of options once.

    Many runs differ in single values only. Hydra sets these after it has composed the
    options, so what it composed can be used again.
    """

    def __init__(self, main: Any) -> None:
        self._main = main
        self._parser = OverridesParser.create()
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def __call__(self, words: Sequence[str]) -> DictConfig:
        values = [word for word in words if "." in word.partition("=")[0]]
        options = tuple(word for word in words if word not in values)
        if options not in self._composed:
            self._composed[options] = self._compose(options)
        composed = deepcopy(self._composed[options])
        parsed = self._parser.parse_overrides(overrides=values)
        ConfigLoaderImpl._apply_overrides_to_config(parsed, composed)
        return composed

    def _compose(self, options: Sequence[str]) -> DictConfig:
        run = RunMode.RUN
        composed = self._main.compose_config("run", [*options], run, from_shell=False)
        with open_dict(composed):
            del composed["hydra"]
        assert isinstance(composed, DictConfig)
        return composed


def quoted(text: str) -> str:
    """Return a text as Hydra's syntax takes it literally."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    return f"'{escaped}'"


@contextmanager
def _hydra() -> Iterator[Any]:
    """Start Hydra for composing, and forget it afterwards."""
    register_configs()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield GlobalHydra.instance().hydra


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except HydraException as error:
        raise UserError(_explain(error)) from error
    except OmegaConfBaseException as error:
        raise UserError(one_line(error)) from error


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a refused run, and ``runs`` above it, if they are empty."""
    above = [p for p in folder.parents if p.is_relative_to(Path("runs").absolute())]
    with suppress(OSError):  # not empty
        for each in (folder, *above):
            each.rmdir()


def _check_flags(arguments: Sequence[str]) -> None:
    """Refuse options that Hydra does not have, such as ``--epochs``."""
    _, unknown = get_args_parser().parse_known_args(arguments)
    for word in unknown:
        if not word.startswith("-"):
            raise UserError(f"{word}: write options such as --cfg after all settings")
        last = word.strip("-").partition("=")[0].replace("-", "_")
        meant = [name for name in setting_options() if name.split(".")[-1] == last]
        example = f"{meant[0]}=VALUE" if meant else "train.epochs=3"
        raise UserError(
            f"{word}: there is no such option; write a setting as name=value, such as "
            f"{example}"
        )


def _register_scenarios(arguments: Sequence[str]) -> list[str]:
    """Offer the package's scenarios, and files given by path under their own name."""
    for name in scenario_names():
        register_scenario(name, load_scenario(name))
    return _register_files(arguments)


def _register_files(arguments: Sequence[str]) -> list[str]:
    """Offer scenarios that are given by path under their own name."""
    return [re.sub(r"^(scenario=)(.*)$", _offer_files, text) for text in arguments]


def _offer_files(match: re.Match[str]) -> str:
    chosen = []
    for name in match[2].split(","):
        if name.endswith((".yaml", ".yml")):
            scenario = load_scenario(name)
            register_scenario(f"file_{scenario.name}", scenario)
            chosen.append(f"file_{scenario.name}")
        else:
            chosen.append(name)
    return match[1] + ",".join(chosen)


_FURTHER_OPTIONS = {
    "scenario": ", or the path of a .yaml file",
    "hydra/launcher": ", or install another: pip install hydra-joblib-launcher",
}


def _explain(error: HydraException) -> str:
    """Return one line that names the setting, the value and the remedy."""
    text, cause = str(error), error.__cause__
    if found := re.match(r"Could not override '([\w./]+)'", text):
        return _unknown_setting(found[1])
    if found := re.match(r"In '.*': Could not find '(hydra/\w+|\w+)/(.*)'", text):
        options = re.search(r"Available options.*?:\n((?:\t.*\n)*)", text)
        names = options[1].split() if options else []
        if found[2] in offered(found[1]):
            schema_of(found[1], found[2])  # says why it cannot be used
        shown = [name for name in names if not name.endswith("_schema")]
        if not shown:  # options in folders of their own
            return (
                f"{found[1]}={found[2]}: there is no such file; "
                "`continual-repmode run --help` lists the choices"
            )
        more = _FURTHER_OPTIONS.get(found[1], "")
        return f"{found[1]}={found[2]}: choose one of {', '.join(shown)}{more}"
    if isinstance(cause, OmegaConfBaseException):
        return one_line(cause)
    if "missing EQUAL" in text:
        return f"{text.splitlines()[0]}: write a setting as name=value"
    return " ".join(text.split())


def _unknown_setting(name: str) -> str:
    options = setting_options()
    if of := options.get(name):
        group = name.partition(".")[0]
        return (
            f"{name} belongs to {group}={', '.join(of)}: leave it out, or choose "
            f"{'that' if len(of) == 1 else 'one of these'}"
        )
    hint = nearest(name, options, otherwise=", ".join(sorted(options)))
    return f"there is no setting {name!r} with these options: {hint}"
