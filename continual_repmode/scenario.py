"""A scenario: which tasks arrive in which experience of a stream.

Scenarios are YAML files in ``scenarios/`` (or the user's own). This module reads and
checks them; :mod:`continual_repmode.training.streams` turns one into an Avalanche
benchmark.
"""

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from continual_repmode.errors import UserError
from continual_repmode.paths import check_file_name, user_path
from continual_repmode.resources import scenario_folder
from continual_repmode.tasks import check_apart, check_task_name


@dataclass(kw_only=True, slots=True)
class Scenario:
    """The definition of a task stream.

    Attributes
    ----------
    name : str
        Names the run folder.
    description : str
        One sentence for people.
    experiences : list of list of str
        The tasks of each experience, in order of arrival. The first experience holds
        the base tasks, which are trained jointly.
    new_task : str or None
        If given, this task is taken out of ``experiences`` and arrives alone, at the
        end (leave-one-out).
    """

    name: str
    description: str = ""
    experiences: list[list[str]] = field(default_factory=list)
    new_task: str | None = None

    def __post_init__(self) -> None:
        """Check the names, and that no task arrives twice."""
        listed = [task for tasks in self.experiences for task in tasks]
        for task in listed:
            check_task_name(task)
        if Path(self.name).name != self.name or self.name == "..":
            raise UserError(
                f"scenario {self.name!r}: its name becomes that of a folder; write it "
                "without slashes"
            )
        twice = sorted({task for task in listed if listed.count(task) > 1})
        if twice:
            raise UserError(
                f"scenario {self.name!r}: task {twice[0]!r} is listed twice; "
                "a task arrives in one experience only"
            )
        check_apart(listed, f"scenario {self.name!r}")
        if self.new_task is not None and self.new_task not in listed:
            raise UserError(
                f"scenario {self.name!r}: new_task={self.new_task!r} is none of the "
                f"tasks in 'experiences': {', '.join(listed)}"
            )
        if not self.experiences or not all(self.stream):
            raise UserError(
                f"scenario {self.name!r}: 'experiences' must be a list of non-empty "
                "lists of task names"
            )

    @property
    def stream(self) -> list[list[str]]:
        """The tasks of each experience, with ``new_task`` moved to the end."""
        if self.new_task is None:
            return [list(tasks) for tasks in self.experiences]
        rest = [[t for t in tasks if t != self.new_task] for tasks in self.experiences]
        return [tasks for tasks in rest if tasks] + [[self.new_task]]

    @property
    def base_tasks(self) -> tuple[str, ...]:
        """The tasks of the first experience: labels ``0 .. len(base_tasks) - 1``."""
        return tuple(self.stream[0])

    @property
    def task_names(self) -> tuple[str, ...]:
        """Every task in order of arrival: a task's position is its integer label."""
        return tuple(task for tasks in self.stream for task in tasks)


def scenario_names() -> list[str]:
    """Return the names of the scenarios that come with the package."""
    return sorted(path.stem for path in scenario_folder().glob("*.yaml"))


def load_scenario(name_or_path: str | Path) -> Scenario:
    """Read a scenario that comes with the package, by name, or a file of the user.

    Raises UserError if there is no such scenario or file, or its content is not a
        scenario.
    """
    path = user_path(name_or_path)
    if path.suffix not in {".yaml", ".yml"}:
        path = scenario_folder() / f"{name_or_path}.yaml"
        if not path.is_file():
            raise UserError(
                f"there is no scenario {str(name_or_path)!r}: choose one of "
                f"{', '.join(scenario_names())}, or give the path of a .yaml file"
            )
    return _read(path)


def _read(path: Path) -> Scenario:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"scenario file {path}: {error.strerror}; give the path of a file, or one "
            f"of {', '.join(scenario_names())}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"scenario file {path}: not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        raise UserError(f"scenario file {path}: expected 'experiences:' and a list")
    fields = set(Scenario.__dataclass_fields__)
    unknown = sorted(str(key) for key in content if key not in fields)
    if unknown:
        raise UserError(
            f"scenario file {path}: unknown field {unknown[0]!r}; "
            f"the fields are {', '.join(sorted(fields))}"
        )
    _check_types(path, content)
    return Scenario(**{"name": path.stem, **content})


def _check_types(path: Path, content: dict[str, object]) -> None:
    experiences = content.get("experiences")
    nested = isinstance(experiences, list) and all(
        isinstance(tasks, list) and all(isinstance(task, str) for task in tasks)
        for tasks in experiences
    )
    if not nested:
        raise UserError(
            f"scenario file {path}: 'experiences' must be a list of lists of task "
            f"names, got {experiences!r}"
        )
    for key in ("name", "description", "new_task"):
        value = content.get(key)
        if value is not None and not isinstance(value, str):
            raise UserError(
                f"scenario file {path}: {key!r} must be text, got {value!r}"
            )
    if "name" in content:  # it names the folder of the run
        check_file_name(str(content["name"]), f"scenario file {path}: name")
