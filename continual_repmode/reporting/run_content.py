"""What a run folder holds, read so that an incomplete run can be told about too."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import yaml

from continual_repmode.analysis.continual import summarize
from continual_repmode.errors import UserError
from continual_repmode.files import sha256_of
from continual_repmode.models.model_card import ModelCard
from continual_repmode.models.model_file import read_card
from continual_repmode.result_content import Header, Number
from continual_repmode.results import ExperienceRecord, RunFolder, finite, read_json
from continual_repmode.scenario import Scenario

_EXTENSION_SETTINGS = {
    "data": ("patch_size", "window", "images"),
    "train": ("epochs", "batch_size", "learning_rate"),
}
"""Group of a run's settings -> what the file of an added structure has of them."""


class _Point(TypedDict):
    num_images: int
    valid_mse: Number


class _ImageCurve(TypedDict):
    points: list[_Point]
    verdict: str | None


class _Side(TypedDict):
    num_parameters: int
    valid_mse: Number
    valid_r2: Number
    test_mse: dict[str, Number]


class _Reference(TypedDict):
    extension: _Side
    scratch: _Side
    verdict: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileHash:
    """A file of the run folder, its size and its SHA-256."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContent:
    """What is known about a run."""

    folder: RunFolder
    #: Of ``results.json`` or ``run.json``: command, seed, versions and the like.
    header: dict[str, Any]
    #: As ``results.json``; None before the first experience is complete.
    results: dict[str, Any] | None
    #: Of the complete experiences.
    records: list[ExperienceRecord]
    #: The settings; empty if there are none.
    config: dict[str, Any]
    #: The file they come from.
    config_text: str | None
    #: The tasks of every experience of the whole stream, if the settings tell it.
    planned: list[list[str]] | None
    #: Of an added structure: validation error over the number of images.
    image_curve: dict[str, Any] | None
    #: Of an added structure: how it compares with a network from scratch.
    reference: dict[str, Any] | None
    #: Of the last checkpoint; empty if there is none.
    card: ModelCard
    #: Checkpoints, settings and results.
    files: list[FileHash]
    #: What is there but could not be read.
    problems: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether every experience was learned and tested."""
        if self.results is None or self.folder.state.exists():
            return False
        return len(self.results["experiences"]) >= len(self.planned or [])

    @property
    def is_extension(self) -> bool:
        """Whether a structure was added to a model, by ``continual-repmode extend``."""
        return self.folder.provenance.is_file()

    def setting(self, name: str) -> Any:
        """Return a setting such as ``train.epochs``; None if it is unknown."""
        value: Any = self.config
        for key in name.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def read_run(path: Path) -> RunContent:
    """Read what a run folder holds.

    Raises UserError if it is no run folder, or was written by a newer version.
    """
    folder = RunFolder(path)
    problems: list[str] = []
    records, config_text = folder.records(), _config_text(folder)
    header = read_json(folder.header, Header) if folder.header.is_file() else {}
    results = _results(folder, header, records)
    if results is None and not header and config_text is None:
        raise UserError(
            f"{path}: no run folder: neither run.json nor results.json is here; name "
            "a folder that `continual-repmode run` wrote"
        )
    config = _parsed(config_text, folder.config, problems) or _of_extension(folder)
    return RunContent(
        folder=folder,
        header={**header, **(results or {})},
        results=results,
        records=records,
        config=config,
        config_text=config_text,
        planned=_planned(config),
        image_curve=_extra(folder, "images", _ImageCurve, problems),
        reference=_extra(folder, "reference", _Reference, problems),
        card=_card(folder, len(records), problems),
        files=_hashes(folder),
        problems=problems,
    )


def _results(
    folder: RunFolder, header: dict[str, Any], records: list[ExperienceRecord]
) -> dict[str, Any] | None:
    """Read the results; they follow from the records where they are missing or old."""
    results = folder.read_results() if folder.results.is_file() else None
    if records and (results is None or len(results["experiences"]) != len(records)):
        summary: dict[str, Any] = finite({**header, **summarize(records)})
        return summary
    return results


def _config_text(folder: RunFolder) -> str | None:
    if not folder.config.is_file():
        return None
    return folder.config.read_text(encoding="utf-8", errors="replace")


def _parsed(text: str | None, path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text or "{}")
    except yaml.YAMLError as error:
        problems.append(f"{path.name}: not valid YAML: {' '.join(str(error).split())}")
        return {}
    return content if isinstance(content, dict) else {}


def _of_extension(folder: RunFolder) -> dict[str, Any]:
    """Return the settings of an added structure under the names of a run's."""
    path = folder.provenance
    found = read_json(path) if path.is_file() else {}
    return {
        group: {name: found[name] for name in names if name in found}
        for group, names in _EXTENSION_SETTINGS.items()
    }


def _extra(
    folder: RunFolder, name: str, schema: Any, problems: list[str]
) -> dict[str, Any] | None:
    """Read what only an added structure has; None unless it has what is shown."""
    path = folder.path / f"{name}.json"
    if not path.is_file():
        return None
    try:
        return read_json(path, schema)
    except UserError as error:
        problems.append(f"cannot be shown: {error}")
        return None


def _planned(config: Mapping[str, Any]) -> list[list[str]] | None:
    try:
        return Scenario(**config["scenario"]).stream
    except (KeyError, TypeError, UserError):  # settings of something else than a run
        return None


def _card(folder: RunFolder, num_records: int, problems: list[str]) -> ModelCard:
    path = folder.checkpoint(num_records - 1)
    if not path.is_file():
        return ModelCard()
    try:
        return read_card(path)
    except UserError as error:
        problems.append(str(error))
        return ModelCard()


def _hashes(folder: RunFolder) -> list[FileHash]:
    models = sorted((folder.path / "checkpoints").glob("*.safetensors"), key=_number)
    models.append(folder.path / "model.safetensors")
    others = (folder.config, folder.header, folder.results)
    return [
        FileHash(
            name=path.relative_to(folder.path).as_posix(),
            num_bytes=path.stat().st_size,
            sha256=sha256_of(path),
        )
        for path in (*models, *others)
        if path.is_file()
    ]


def _number(path: Path) -> tuple[int, str]:
    return (len(path.stem), path.stem)  # experience_10 comes after experience_9
