"""What was trained on what, as lines for people."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from continual_repmode.reporting.run_content import RunContent

Fact = tuple[str, str]
"""A term and what is known about it."""


def facts_of(run: RunContent) -> list[Fact]:
    """Return what the run was; lines about which nothing is known are left out."""
    facts = [
        ("Scenario", _scenario(run)),
        ("Strategy", _text(run.header.get("strategy"))),
        ("Network", _network(run)),
        ("Started from", _base_model(run)),
        ("Data", _data(run)),
        ("Voxel size (z, y, x)", _sizes(run.header.get("voxel_size_um"), "µm")),
        ("Intensities", run.card.normalization if run.records else ""),
        ("Training", _training(run)),
        ("Patches (z, y, x)", _sizes(run.setting("data.patch_size"), "voxels")),
        ("Prediction window (z, y, x)", _sizes(run.card.window, "voxels")),
        ("Seed", _text(run.header.get("seed"))),
        ("Device", _text(run.header.get("device"))),
        ("Wall time", _wall_time(run)),
        ("Parameters", _parameters(run)),
    ]
    return [(term, text) for term, text in facts if text]


def model_name(run: RunContent) -> str:
    """Return the option of the network, such as ``repmode``; "" if unknown."""
    return _text(run.setting("model.option"))


def wall_time_s(run: RunContent) -> float | None:
    """Return the seconds of training and testing; None if nothing is complete."""
    costs = (run.results or {}).get("costs") or [
        {"wall_time_s": record.wall_time_s} for record in run.records
    ]
    if not costs:
        return None
    return float(sum(sum(cost["wall_time_s"].values()) for cost in costs))


def duration(seconds: float | None) -> str:
    """Return a time for people.

    >>> duration(3725)
    '1 h 2 min'
    """
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def by_sides(lengths: Sequence[float]) -> str:
    """Return lengths along z, y and x as a text."""
    return " \N{MULTIPLICATION SIGN} ".join(f"{length:g}" for length in lengths)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _scenario(run: RunContent) -> str:
    about = _text(run.setting("scenario.description"))
    name = _text(run.header.get("scenario"))
    return f"{name}: {about}" if name and about else name or about


def _network(run: RunContent) -> str:
    name = model_name(run)
    parts = {"width": "model.width", "depth": "model.depth"}
    sizes = [
        f"{word} {run.setting(path)}"
        for word, path in parts.items()
        if run.setting(path) is not None
    ]
    return ", ".join([name, *sizes] if name else sizes)


def _base_model(run: RunContent) -> str:
    base = run.header.get("base_model")
    if not isinstance(base, dict):
        return ""
    return f"{base.get('path')} (SHA-256 {base.get('sha256')})"


def _data(run: RunContent) -> str:
    match run.setting("data.option"):
        case "synthetic":
            size = _sizes(run.setting("data.shape"), "voxels")
            return f"generated cells, volumes of {size}, seed {_seed(run)}"
        case "manifest":
            return f"volumes listed in {run.setting('data.manifest')}"
        case None if run.is_extension:
            return _lab_data(run)
        case other:
            return _text(other)


def _lab_data(run: RunContent) -> str:
    """Name the manifest of an extension and its images, the first of each split."""
    try:
        words = shlex.split(str(run.header.get("command", "")))
        manifest = words[words.index("extend") + 2]
    except (ValueError, IndexError):
        manifest = "a lab's own pairs"
    images = run.setting("data.images")
    if not isinstance(images, dict):
        return manifest
    counts = [
        f"{len(names)} {split} ({', '.join(names[:3])}{', ...' if names[3:] else ''})"
        for split, names in images.items()
        if names
    ]
    return f"{manifest}: images {', '.join(counts)}"


def _seed(run: RunContent) -> str:
    return _text(run.setting("data.seed"))


def _sizes(values: Any, unit: str) -> str:
    if not isinstance(values, list | tuple):
        return ""
    return by_sides(values) + f" {unit}"


def _training(run: RunContent) -> str:
    settings = {
        "epochs": "train.epochs",
        "epochs for each later experience": "train.extension_epochs",
        "patches per batch": "train.batch_size",
    }
    parts = [
        f"{run.setting(path)} {word}"
        for word, path in settings.items()
        if run.setting(path) is not None
    ]
    rate = run.setting("train.learning_rate")
    return ", ".join([*parts, *([f"learning rate {rate}"] if rate else [])])


def _wall_time(run: RunContent) -> str:
    seconds = wall_time_s(run)
    return "" if seconds is None else f"{duration(seconds)} of training and testing"


def _parameters(run: RunContent) -> str:
    total = (run.results or {}).get("parameters", {}).get("total")
    return "" if total is None else f"{total:,} in total"


def manifest_path(run: RunContent) -> Path | None:
    """Return the manifest that the run was trained on; None if it had none."""
    name = run.setting("data.manifest")
    return Path(name) if isinstance(name, str) else None
