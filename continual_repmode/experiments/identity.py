"""Which settings make two runs the same: their hash names what they left behind."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from continual_repmode.config.data import ManifestConfig
from continual_repmode.config.run import RunConfig, plain_settings
from continual_repmode.errors import UserError

WITHOUT_EFFECT = frozenset(
    {
        "base_model",
        "data.cache_dir",
        "data.manifest",
        "data.root",
        "device",
        "reference",
        "resume",
        "scenario.description",
        "scenario.name",
        "scenario.new_task",
        "train.memory",
        "train.num_workers",
        "train.save_every",
    }
)
"""Settings left out: they say where and how to compute, not what.

The content of a manifest and the resolved stream take the place of the settings that
name them, and the base run that of its file.
"""

KEY_LENGTH = 16


def resolved_settings(config: RunConfig) -> dict[str, Any]:
    """Return every setting that decides the results, as ``group.name`` -> value.

    Raises
    ------
    UserError
        If the manifest cannot be read.
    """
    settings = _flat(plain_settings(config))
    settings["scenario.experiences"] = config.stream().stream
    if isinstance(config.data, ManifestConfig):
        settings["data.manifest_sha256"] = _manifest_hash(Path(config.data.manifest))
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

    Parameters
    ----------
    settings, defaults : mapping
        As returned by :func:`resolved_settings` and :func:`default_settings`.
    base : str or None
        Hash of the run whose network this one starts from.
    """
    content: dict[str, Any] = {
        name: value
        for name, value in settings.items()
        if name not in defaults or defaults[name] != value
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


def _manifest_hash(path: Path) -> str:
    """Return the hash of a manifest's rows, wherever it lies."""
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(file.read_bytes())
        except OSError as error:
            raise UserError(
                f"data.manifest={path}: {file}: {error.strerror}"
            ) from error
    return digest.hexdigest()
