"""What is in a model file, as JSON values and as text."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from continual_repmode.models import RepModeUNet, TaskNetwork, read_model_header
from continual_repmode.models.merging import base_sha256
from continual_repmode.models.model_file import altered_tasks
from continual_repmode.paths import user_path
from continual_repmode.trained_model import TrainedModel

_WIDTH = 88
_LABEL = 14
_NAME = 24
"""Longest name of a task that is printed whole in a table."""

_SIZE = ("width", "depth", "in_channels", "out_channels", "axes")
_SHOWN_APART = ("network", "task_names", "extensions", "num_frozen_tasks", *_SIZE)
_UNKNOWN = "not known"


def model_facts(path: str | Path, *, with_hashes: bool) -> dict[str, Any]:
    """Return what a model file holds, as plain JSON values.

    ``with_hashes``: read all of the file for ``sha256``, ``base_sha256`` and
        ``altered_tasks``, otherwise None.
    Raises UserError if the file cannot be read or holds no model.
    """
    path = user_path(path)
    version = read_model_header(path)["version"]
    model = TrainedModel.load(path) if with_hashes else TrainedModel.outline(path)
    net, card = model.net, model.card
    extensions = net.architecture()["extensions"]
    arrived = {options["name"]: i + 1 for i, options in enumerate(extensions)}
    known = card.to_json()
    del known["tasks"]
    return {
        "file": str(path),
        "num_bytes": path.stat().st_size,
        "format_version": version,
        "sha256": model.sha256 if with_hashes else None,
        "base_sha256": _base_sha256(net) if with_hashes else None,
        "altered_tasks": altered_tasks(net, path) if with_hashes else None,
        "num_parameters": net.num_parameters(),
        "architecture": net.architecture(),
        "tasks": [
            {
                "name": name,
                "extension": arrived.get(name),
                "num_parameters": net.num_task_parameters(name),
                **card.to_json()["tasks"].get(name, {}),
            }
            for name in net.task_names
        ],
        **known,
    }


def format_facts(facts: Mapping[str, Any]) -> str:
    """Return :func:`model_facts` as text for people, at most 88 characters wide."""
    blocks = [_head(facts), _tasks(facts["tasks"]), _training(facts["tasks"])]
    extensions = facts["architecture"]["extensions"]
    if extensions:
        blocks.append(["extensions", *_options(extensions)])
    return "\n\n".join("\n".join(block) for block in blocks)


def _base_sha256(net: TaskNetwork) -> str | None:
    if not isinstance(net, RepModeUNet):
        return None
    extended = net.task_names[len(net.architecture()["task_names"]) :]
    return base_sha256(net) if net.is_frozen or not extended else None


def _head(facts: Mapping[str, Any]) -> list[str]:
    architecture = facts["architecture"]
    options = {k: v for k, v in architecture.items() if k not in _SHOWN_APART}
    size = {key: architecture[key] for key in _SIZE}
    network = [architecture["network"], f"{facts['num_parameters']:,} parameters"]
    if "num_frozen_tasks" in architecture:
        network.append(_frozen(architecture["num_frozen_tasks"], len(facts["tasks"])))
    resizing = [facts[key] for key in ("resize", "order") if facts[key]]
    name, version = Path(facts["file"]).name, facts["format_version"]
    entries = [
        ("file", f"{name}, {_bytes(facts['num_bytes'])}, format version {version}"),
        ("SHA-256", facts["sha256"]),
        ("of its base", facts["base_sha256"]),
        ("verified", _soundness(facts)),
        ("network", ", ".join(network)),
        ("size", _joined(size)),
        ("options", _joined(options)),
        ("images", facts["normalization"]),
        ("voxel size", _sides(facts["voxel_size_um"], "um")),
        ("resizing", ", ".join(resizing) or _UNKNOWN),
        ("window", _sides(facts["window"], "voxels")),
        ("overlap", _sides(facts["overlap"], "of a window")),
        ("versions", _joined(facts["versions"])),
        *(("run", f"{key}: {value}") for key, value in _leaves(facts["run"])),
    ]
    return [line for entry in _labelled(entries) for line in entry]


def _soundness(facts: Mapping[str, Any]) -> str | None:
    altered = facts["altered_tasks"]
    if altered is None:
        return None
    if altered:
        return f"altered since they were saved: {', '.join(altered)}"
    count = len(facts["tasks"])
    return f"{count} of {count} fingerprints are as they were saved"


def _tasks(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ("task", "arrived", "parameters", "train/valid/test", "R2", "MSE", "r")
    rows = [
        (
            _short(task["name"]),
            "base" if task["extension"] is None else f"added {task['extension']}",
            f"{task['num_parameters']:,}",
            _images(task.get("num_images")),
            *(
                _number((task.get("metrics") or {}).get(metric), 3)
                for metric in ("r2", "mse", "pearson_r")
            ),
        )
        for task in tasks
    ]
    return _aligned([header, *rows])


def _training(tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    header = ("task", "target mean", "std", "training data, SHA-256 begins")
    rows = [
        (
            _short(task["name"]),
            _number(task.get("target_mean"), 1),
            _number(task.get("target_std"), 1),
            (task.get("data_sha256") or "-")[:24],
        )
        for task in tasks
    ]
    return _aligned([header, *rows])


def _options(extensions: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for extension in extensions:
        options = {key: value for key, value in extension.items() if key != "name"}
        text = f"{extension['name']}: {_joined(options) or 'no options'}"
        yield from _wrapped(text, "  ", "    ")


def _labelled(entries: Sequence[tuple[str, str | None]]) -> Iterator[list[str]]:
    previous = ""
    for label, text in entries:
        if text:
            shown = "" if label == previous else label
            yield _wrapped(_printable(text), shown.ljust(_LABEL), " " * _LABEL)
            previous = label


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_on_hyphens=False,
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [lines[0], "-" * len(lines[0]), *lines[1:]]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the values of nested JSON by their paths."""
    if isinstance(value, list):
        value = {str(index + 1): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name} {key}".strip())
    else:
        yield name, _value(value)


def _joined(entries: Mapping[str, Any]) -> str:
    separator = "; " if any(isinstance(v, list) for v in entries.values()) else ", "
    return separator.join(f"{key} {_value(value)}" for key, value in entries.items())


def _value(value: Any) -> str:
    match value:
        case True:
            return "yes"
        case False:
            return "no"
        case None | []:
            return "none"
        case list():
            return ", ".join(map(str, value))
    return str(value)


def _frozen(num_frozen: int, num_tasks: int) -> str:
    if num_frozen == num_tasks:
        return "all tasks frozen"
    return f"{num_frozen} of {num_tasks} tasks frozen" if num_frozen else "not frozen"


def _sides(sides: Sequence[float] | None, unit: str) -> str:
    if sides is None:
        return _UNKNOWN
    return f"{' x '.join(f'{side:g}' for side in sides)} {unit} (Z, Y, X)"


def _images(counts: Mapping[str, int] | None) -> str:
    splits = ("train", "valid", "test")
    return "/".join(str((counts or {}).get(split, "-")) for split in splits)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _bytes(count: int) -> str:
    for size, unit in ((1e9, "GB"), (1e6, "MB")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _printable(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
