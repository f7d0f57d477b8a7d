"""``continual-repmode merge``: extensions of the same model, put into one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from continual_repmode.commands._manifest_arguments import (
    Parser,
    add_model_output,
    model_output,
    parse,
)
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.tasks import meant_task

if TYPE_CHECKING:
    from continual_repmode.models import ModelCard, RepModeUNet
    from continual_repmode.trained_model import TrainedModel

_ABOUT = """\
Put what several labs have added to the same model into one model.

Extending a model leaves what it knew untouched, so extensions of the same base can
stand side by side, and every task predicts to the bit as it did; that is checked before
anything is written. Models that do not have the very same base are refused."""


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the models to merge, and what its tasks will be called."""

    model: "TrainedModel"
    names: dict[str, str]


def main(arguments: Sequence[str]) -> int:
    """Merge model files; return the exit status.

    Raises UserError if a file cannot be read, or the models do not go together.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    paths = [user_path(path) for path in chosen.models]
    if len(paths) < 2:
        raise UserError("give two or more models to merge")
    out = model_output(chosen, paths)

    from continual_repmode.models import save_model

    parts = [_read(path) for path in paths]
    parts[1:] = _renamed(parts[1:], chosen.rename)
    net, card = _merged(parts)
    _prove(net, parts)
    save_model(net, out, card)
    print(_summary(net, parts, out))
    return 0


def _parser() -> Parser:
    parser = Parser(
        "merge",
        _ABOUT,
        "a.safetensors b.safetensors --out both.safetensors",
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="two or more model files")
    add_model_output(parser)
    add(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="call the added task OLD of models after the first NEW; may be repeated",
    )
    return parser


def _read(path: Path) -> _Part:
    from continual_repmode.trained_model import TrainedModel

    model = TrainedModel.load(path)
    return _Part(model, {name: name for name in model.repmode().task_names})


def _renamed(parts: Sequence[_Part], wanted: Sequence[str]) -> list[_Part]:
    """Note the new names of tasks."""
    renamed = list(parts)
    for text in wanted:
        old, separator, new = text.partition("=")
        if not (old and separator and new):
            raise UserError(f"--rename {text}: write it as OLD=NEW")
        if [other.partition("=")[0] for other in wanted].count(old) > 1:
            raise UserError(f"--rename {text}: {old} gets two names; give one")
        old = meant_task(old, (name for part in renamed for name in part.names))
        having = [i for i, part in enumerate(renamed) if old in part.names]
        if not having:
            raise UserError(f"--rename {text}: no model but the first has a task {old}")
        for i in having:
            names = {**renamed[i].names, old: new}
            renamed[i] = replace(renamed[i], names=names)
    return renamed


def _merged(parts: Sequence[_Part]) -> "tuple[RepModeUNet, ModelCard]":
    """Join networks and cards, one after another."""
    from continual_repmode.models.merging import merge, merge_cards, rename_task
    from continual_repmode.runtime import versions

    first, *others = parts
    net, card = first.model.repmode(), first.model.card
    for part in others:
        try:
            other, known = part.model.repmode(), part.model.card
            for old, new in part.names.items():
                other = other if old == new else rename_task(other, old, new)
            tasks = {part.names.get(n, n): t for n, t in known.tasks.items()}
            net = merge(net, other)
            card = merge_cards(card, replace(known, tasks=tasks))
        except UserError as error:
            paths = f"{first.model.path} and {part.model.path}"
            several = len(parts) > 2 and "--rename" in str(error)  # it is for all
            hint = ", and merge two models at a time" if several else ""
            raise UserError(f"{paths}: {error}{hint}") from None
    sources = [
        {"file": m.name, "sha256": m.sha256, "run": m.card.run}
        for m in (part.model for part in parts)
    ]
    return net, replace(card, versions=versions(), run={"merged": sources})


def _prove(net: "RepModeUNet", parts: Sequence[_Part]) -> None:
    """Compare every task of every model with what it has become."""
    from tqdm import tqdm

    from continual_repmode.models.merging import compare_tasks

    parents = [(part.model.repmode(), part.names) for part in parts]
    count = sum(len(names) for _, names in parents)
    with tqdm(total=count, desc="comparing", unit="task", disable=None) as bar:
        for name in compare_tasks(net, parents):
            bar.set_postfix_str(name, refresh=False)
            bar.update()


def _summary(net: "RepModeUNet", parts: Sequence[_Part], out: Path) -> str:
    count = sum(len(part.names) for part in parts)
    lines = [
        f"{out}: {len(net.task_names)} tasks: {', '.join(net.task_names)}",
        f"every task predicts as before, to the bit: {count} of {count} fingerprints "
        "are equal",
    ]
    lines += [
        f"{task} of {part.model.path} is now {name}"
        for part in parts
        for task, name in part.names.items()
        if task != name
    ]
    return "\n".join(lines)
