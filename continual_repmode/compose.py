"""Lets Hydra compose the settings of a run."""

import hashlib
import os
import re
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
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from continual_repmode.config.run import (
    RunConfig,
    literal,
    register_configs,
    register_scenario,
    setting_options,
    text_settings,
    to_run_config,
)
from continual_repmode.errors import UserError
from continual_repmode.hydra_errors import errors_in_one_line
from continual_repmode.option_fields import refuse_repeated_settings
from continual_repmode.paths import user_path
from continual_repmode.processes import command_line, started_by_torchrun
from continual_repmode.resources import config_folder
from continual_repmode.scenario import load_scenario, scenario_names
from continual_repmode.stopping import Interrupted

_OF_JOB = "raised by the run itself, not by making its folder"


def launch(
    arguments: Sequence[str], job: Callable[[RunConfig, Path, Sequence[str]], None]
) -> int:
    """Call ``job`` once, or for each combination of a sweep.

    A mistake in one combination of a sweep does not stop the others.

    ``arguments``: settings in Hydra's syntax; ``scenario`` may also be the path of a
        YAML file.
    ``job``: called with the settings, the output folder and the settings that were
        given.
    Returns: exit status: 0, or 2 if a job raised :class:`UserError`.
    Raises UserError if a setting is unknown, its value cannot be understood, or the
        output folder cannot be made.
    """
    refuse_repeated_settings(arguments)
    _check_folder(arguments)
    register_configs()
    _register_scenarios()
    spelling = _Spelling(sweep=not {"-m", "--multirun"}.isdisjoint(arguments))
    words = [spelling(word) for word in arguments]
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
        settings = [spelling.given.get(w, w) for w in hydra_config.overrides.task]
        try:
            job(to_run_config(composed), folder, settings)
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
        with errors_in_one_line():
            decorate(guarded)()
    except KeyboardInterrupt as stop:
        if not sweeps:
            raise
        where = [f"hydra.sweep.dir={quoted(sweeps[-1])}"]
        if any(word.startswith("hydra.sweep.dir=") for word in words):
            where = []
        again = command_line(["continual-repmode", "run", *arguments, *where])
        raise Interrupted(again) from stop
    except OSError as error:
        if _OF_JOB in getattr(error, "__notes__", ()):
            raise
        raise UserError(
            f"{error.filename}: {error.strerror}; choose another folder for the "
            "results: hydra.run.dir=FOLDER, or hydra.sweep.dir=FOLDER with -m"
        ) from error
    if failures and started_by_torchrun():
        from continual_repmode.distributed import let_first_tell

        let_first_tell()
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 2 if failures else 0


def compose_runs(runs: Sequence[Sequence[str]]) -> list[RunConfig]:
    """Return the settings of runs without carrying them out.

    ``runs``: settings of each run in Hydra's syntax; ``scenario`` may also be the path
        of a YAML file.
    Raises UserError if a setting is unknown or its value cannot be understood.
    """
    with _hydra() as main, errors_in_one_line():
        compose, spelling = _Composer(main), _Spelling()
        _register_scenarios()
        return [to_run_config(compose([*map(spelling, run)])) for run in runs]


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
    return _in_quotes(str(literal(text)))


def _in_quotes(text: str) -> str:
    """Return a text as Hydra's syntax takes it, with ``${...}`` still to resolve."""
    doubled = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text)
    escaped = doubled.replace("'", r"\'")
    return f"'{escaped}'"


@contextmanager
def _hydra() -> Iterator[Any]:
    """Start Hydra for composing, and forget it afterwards."""
    register_configs()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        yield GlobalHydra.instance().hydra


def _remove_empty(folder: Path) -> None:
    """Remove the folder of a refused run, and ``runs`` above it, if they are empty."""
    above = [p for p in folder.parents if p.is_relative_to(Path("runs").absolute())]
    with suppress(OSError):  # not empty
        for each in (folder, *above):
            each.rmdir()


def _check_folder(arguments: Sequence[str]) -> None:
    """Refuse the folder of a run for a sweep, and the reverse: it would not be used."""
    sweep = bool({"-m", "--multirun"} & set(arguments))
    right, wrong = ("run", "sweep")[sweep], ("sweep", "run")[sweep]
    for word in arguments:
        if word.startswith(f"hydra.{wrong}.dir="):
            raise UserError(
                f"{word}: is for {'one run' if sweep else 'a sweep (-m)'}; give "
                f"hydra.{right}.dir=FOLDER"
            )


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


def _register_scenarios() -> None:
    """Offer the package's scenarios."""
    for name in scenario_names():
        register_scenario(name, load_scenario(name))


class _Spelling:
    """Writes settings as Hydra's syntax has them.

    A setting whose value is a text, such as a path, is taken as it stands: no character
    of it has a meaning. Only ``null``, values in quotes of their own, Hydra's
    ``${...}`` and, in a sweep, commas keep theirs.

    ``sweep``: commas part the values of several runs.
    ``given``: setting as Hydra has it -> as the user wrote it.
    """

    def __init__(self, sweep: bool = False) -> None:
        self.given: dict[str, str] = {}
        self._sweep = sweep
        self._texts = text_settings()

    def __call__(self, word: str) -> str:
        """Return one setting, offering its scenario if that is a file."""
        name, equal, value = word.partition("=")
        spell = self._speller(name.lstrip("+"))
        kept = value == "null" or (self._sweep and _SWEEP.match(value))
        if not equal or spell is None or kept:
            return word
        parts = [value]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            if spell is _in_quotes:
                return word
            parts = [value[1:-1]]
        elif self._sweep:
            parts = value.split(",")
        spelled = [spell(part) for part in parts]
        for ours, theirs in zip(spelled, parts, strict=True):
            self.given[f"{name}={ours}"] = f"{name}={theirs}"
        return f"{name}={','.join(spelled)}"

    def _speller(self, name: str) -> Callable[[str], str] | None:
        if name == "scenario":
            return _scenario_option
        if name in {"hydra.run.dir", "hydra.sweep.dir"}:
            return lambda value: _in_quotes(_folder(name, value))
        return _in_quotes if name in self._texts else None


def _folder(name: str, value: str) -> str:
    """Return the folder for results, however it is given."""
    try:
        return str(user_path(value))
    except UserError as error:
        raise UserError(f"{name}={value}: {error}") from error


def _scenario_option(value: str) -> str:
    """Return the option of a scenario; that of a file is offered now."""
    if not value.endswith((".yaml", ".yml")):
        return value
    option = f"file_{hashlib.sha256(os.fsencode(value)).hexdigest()[:16]}"
    register_scenario(option, load_scenario(value))
    return option


_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort)\(")
"""Hydra's ways to give several values besides commas."""
