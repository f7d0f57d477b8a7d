"""``continual-repmode merge``: extensions of the same model, put into one."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError

if TYPE_CHECKING:
    from continual_repmode.models import ModelCard, RepModeUNet

_ABOUT = """\
Put what several labs have added to the same model into one model.

Extending a model leaves what it knew untouched, so extensions of the same base can
stand side by side, and every task predicts to the bit as it did; that is checked before
anything is written. Models that do not have the very same base are refused."""


@dataclass(frozen=True, slots=True)
class _Model:
    """One of the models to merge.

    ``net`` and ``card`` are as in the file, ``names`` what its tasks will be called.
    """

    path: Path
    net: "RepModeUNet"
    card: "ModelCard"
    names: dict[str, str]


def main(arguments: Sequence[str]) -> int:
    """Merge model files; return the exit status.

    Raises
    ------
    UserError
        If a file cannot be read, or the models do not go together.
    """
    chosen = parse(_parser(), arguments)
    if chosen is None:
        return 0
    out = Path(chosen.out)
    paths = [Path(path) for path in chosen.models]
    _check_files(paths, out, chosen.overwrite)

    from continual_repmode.models import save_model

    models = [_read(path) for path in paths]
    models[1:] = _renamed(models[1:], chosen.rename)
    net, card = _merged(models)
    _prove(net, models)
    save_model(net, out, card)
    print(_summary(net, models, out))
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="continual-repmode merge",
        description=_ABOUT,
        epilog="example: continual-repmode merge a.safetensors b.safetensors "
        "--out both.safetensors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="MODEL", help="two or more model files")
    add("--out", required=True, metavar="FILE", help="the model file to write")
    add(
        "--rename",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="call the added task OLD of models after the first NEW; may be repeated",
    )
    add("--overwrite", action="store_true", help="replace the file if it is there")
    return parser


def _check_files(paths: Sequence[Path], out: Path, overwrite: bool) -> None:
    if len(paths) < 2:
        raise UserError("give two or more models to merge")
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: give a name that ends with .safetensors")
    if out.resolve() in [path.resolve() for path in paths]:
        raise UserError(f"--out {out}: is one of the models; give another name")
    if out.exists() and not overwrite:
        raise UserError(f"--out {out}: exists; give another name or --overwrite")


def _read(path: Path) -> _Model:
    from continual_repmode.models import RepModeUNet, load_model, read_card

    card, net = read_card(path), load_model(path)
    if not isinstance(net, RepModeUNet):
        raise UserError(
            f"{path}: holds a {type(net).__name__}; only models of the kind "
            "RepModeUNet keep what they know untouched and can be merged"
        )
    return _Model(path, net, card, {name: name for name in net.task_names})


def _renamed(models: Sequence[_Model], wanted: Sequence[str]) -> list[_Model]:
    """Note the new names of tasks."""
    renamed = list(models)
    for text in wanted:
        old, separator, new = text.partition("=")
        if not (old and separator and new):
            raise UserError(f"--rename {text}: write it as OLD=NEW")
        having = [i for i, model in enumerate(renamed) if old in model.names]
        if not having:
            raise UserError(f"--rename {text}: no model but the first has a task {old}")
        for i in having:
            names = {**renamed[i].names, old: new}
            renamed[i] = replace(renamed[i], names=names)
    return renamed


def _merged(models: Sequence[_Model]) -> "tuple[RepModeUNet, ModelCard]":
    """Join networks and cards, one after another."""
    from continual_repmode.models.merging import merge, merge_cards, rename_task
    from continual_repmode.runtime import versions
    from continual_repmode.training.base_model import sha256_of

    first, *others = models
    net, card = first.net, first.card
    for model in others:
        try:
            other = model.net
            for old, new in model.names.items():
                other = other if old == new else rename_task(other, old, new)
            tasks = {model.names.get(n, n): t for n, t in model.card.tasks.items()}
            net = merge(net, other)
            card = merge_cards(card, replace(model.card, tasks=tasks))
        except UserError as error:
            raise UserError(f"{first.path} and {model.path}: {error}") from None
    sources = [
        {"file": m.path.name, "sha256": sha256_of(m.path), "run": m.card.run}
        for m in models
    ]
    return net, replace(card, versions=versions(), run={"merged": sources})


def _prove(net: "RepModeUNet", models: Sequence[_Model]) -> None:
    """Compare every task of every model with what it has become."""
    from tqdm import tqdm

    from continual_repmode.models.merging import compare_tasks

    parents = [(model.net, model.names) for model in models]
    count = sum(len(names) for _, names in parents)
    with tqdm(total=count, desc="comparing", unit="task", disable=None) as bar:
        for name in compare_tasks(net, parents):
            bar.set_postfix_str(name, refresh=False)
            bar.update()


def _summary(net: "RepModeUNet", models: Sequence[_Model], out: Path) -> str:
    count = sum(len(model.names) for model in models)
    lines = [
        f"{out}: {len(net.task_names)} tasks: {', '.join(net.task_names)}",
        f"every task predicts as before, to the bit: {count} of {count} fingerprints "
        "are equal",
    ]
    lines += [
        f"{task} of {model.path} is now {name}"
        for model in models
        for task, name in model.names.items()
        if task != name
    ]
    return "\n".join(lines)
