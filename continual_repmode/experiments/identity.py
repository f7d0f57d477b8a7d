"""Which settings make two runs the same: their hash names what they left behind."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from continual_repmode.config.data import ManifestConfig
from continual_repmode.config.run import RunConfig, plain_settings
from continual_repmode.errors import UserError
from continual_repmode.manifests.files import csv_files
from continual_repmode.manifests.rows import ManifestRow, read_rows
from continual_repmode.paths import user_path

WITHOUT_EFFECT = frozenset(
    {
        "base_model",
        "data.cache_dir",
        "data.manifest",
        "data.root",
        "device",
        "figures",
        "loggers",
        "reference",
        "resume",
        "scenario.description",
        "scenario.name",
        "scenario.new_task",
        "train.save_every",
    }
)
"""Settings left out: they say where and how to compute, not what.

The content of a manifest and the resolved stream take the place of the settings that
name them, and the base run that of its file.
"""

OF_VOLUMES = "data.volumes_sha256"
"""Not in the hash either, so that tables can be written where the volumes are not."""

KEY_LENGTH = 16

_SAMPLED_BYTES = 65536
"""At the beginning, in the middle and at the end of a file."""


def resolved_settings(config: RunConfig) -> dict[str, Any]:
    """Return every setting that decides the results, as ``group.name`` -> value.

    A manifest counts by its text, and by its volumes where they are at hand.

    Raises UserError if the manifest cannot be read.
    """
    settings = _flat(plain_settings(config))
    settings["scenario.experiences"] = config.stream().stream
    if isinstance(config.data, ManifestConfig):
        root = None if config.data.root is None else user_path(config.data.root)
        settings |= _manifest_settings(user_path(config.data.manifest), root)
    return {k: v for k, v in settings.items() if k not in WITHOUT_EFFECT}


def default_settings(config: RunConfig) -> dict[str, Any]:
    """Return the defaults of the chosen options, as ``group.name`` -> value."""
    return _flat(_defaults(config))


def run_key(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], base: str | None
) -> str:
    """Return the hash of a run, the same on every machine.

    Settings at their default are left out, so that a new option, which by default
    changes nothing, leaves the hashes of earlier runs as they are. Should a default
    change, :func:`same_settings` tells such runs apart.

    ``settings``, ``defaults``: as returned by :func:`resolved_settings` and
        :func:`default_settings`.
    ``base``: hash of the run whose network this one starts from.
    """
    content: dict[str, Any] = {
        name: value
        for name, value in settings.items()
        if name != OF_VOLUMES and (name not in defaults or defaults[name] != value)
    }
    content["base"] = base
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


def same_settings(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether two runs agree in every setting that both know."""
    return all(stored[name] == wanted[name] for name in stored.keys() & wanted.keys())


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for group, value in nested.items():
        if isinstance(value, Mapping):
            flat |= {f"{group}.{name}": item for name, item in value.items()}
        else:
            flat[group] = value
    return flat


def _defaults(settings: Any) -> dict[str, Any]:
    """Return the defaults of a settings object, of each group where it has groups."""
    found: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            found[item.name] = _defaults(value)
        elif item.default_factory is not MISSING:
            found[item.name] = item.default_factory()
        elif item.default is not MISSING:
            found[item.name] = item.default
    return found


@cache
def _manifest_settings(path: Path, root: Path | None) -> dict[str, str]:
    """Return the hash of a manifest's text and, if they are there, of its volumes."""
    text = hashlib.sha256()
    for file in csv_files(path):
        try:
            text.update(file.read_bytes())
        except OSError as error:
            raise UserError(
                f"data.manifest={path}: {file}: {error.strerror}"
            ) from error
    found = {"data.manifest_sha256": text.hexdigest()}
    try:
        return found | {OF_VOLUMES: _volumes_hash(read_rows(path, root))}
    except (UserError, OSError):  # what is wrong with them, a run tells in full
        return found


def _volumes_hash(rows: Iterable[ManifestRow]) -> str:
    """Return a hash of samples of all volumes, in the order of the rows."""
    digest = hashlib.sha256()
    paths = (path for row in rows for path in (row.signal_path, row.target_path))
    for path in dict.fromkeys(paths):
        for name, size in _files(path):
            digest.update(f"{name} {size}\n".encode())
        if path.is_file():
            digest.update(_sample(path))
    return digest.hexdigest()


def _files(path: Path) -> list[tuple[str, int]]:
    """Return name within a volume and bytes of each of its files."""
    if path.is_file():
        return [("", path.stat().st_size)]
    files = (file for file in path.rglob("*") if file.is_file())
    return sorted((f.relative_to(path).as_posix(), f.stat().st_size) for f in files)


def _sample(path: Path) -> bytes:
    last = max(0, path.stat().st_size - _SAMPLED_BYTES)
    parts = []
    with path.open("rb") as file:
        for start in (0, last // 2, last):
            file.seek(start)
            parts.append(file.read(_SAMPLED_BYTES))
    return b"".join(parts)
