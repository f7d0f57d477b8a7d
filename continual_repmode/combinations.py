"""Whether ``model`` and ``strategy`` go together: asked of a network without values."""

from collections.abc import Iterable

import torch

from continual_repmode import distributed
from continual_repmode.config.run import RunConfig, option_name, strategy_name
from continual_repmode.errors import UserError
from continual_repmode.models import TaskNetwork
from continual_repmode.training.strategies.strategy_config import (
    CLOSEST,
    StrategyConfig,
)


def check_combination(config: RunConfig) -> None:
    """Refuse settings of ``model`` and ``strategy`` that do not go together.

    Raises UserError: with the reason and a remedy; before any data are opened.
    """
    model, strategy, stream = config.model, config.strategy, config.stream()
    name = strategy_name(strategy)
    with torch.device("meta"):
        trial = model.build(stream.base_tasks)
    try:
        strategy.check(trial, len(stream.task_names))
    except UserError as error:
        pair = f"model={option_name('model', model)} with strategy={name}"
        raise UserError(f"{pair}: {error}") from None
    try:
        _grow(trial, strategy, stream.stream[1:])
    except UserError as error:
        starts = str(error).startswith(("gate_init ", "init "))
        more = f"; or {CLOSEST!r}, which finds one" if starts else ""
        raise UserError(f"strategy={name}: {error}{more}") from None
    _check_base_model(config)
    if distributed.world() > 1:
        _check_shares(config)


def _check_shares(config: RunConfig) -> None:
    """Refuse what several processes cannot train together."""
    alone = "train in one process, without torchrun"
    if not config.strategy.shares_batches:
        raise UserError(
            f"strategy={strategy_name(config.strategy)}: it cannot be trained by "
            f"several processes; {alone}, or choose another strategy"
        )
    if config.train.compile:
        raise UserError(
            "train.compile=true: several processes must take the same steps, which "
            f"compiled networks do not promise; leave it out, or {alone}"
        )


def unused_settings(config: RunConfig, given: Iterable[str]) -> list[str]:
    """Return, a line each, which settings that the user gave have no effect.

    ``given``: the settings as they were written, ``name=value``.
    """
    names = [word.lstrip("+").partition("=")[0] for word in given]
    expert = getattr(config.strategy, "expert", None)
    reasons: dict[str, tuple[str, ...]] = {}
    if len(config.stream().stream) == 1:
        reasons["this run has one experience"] = (
            *("train.extension_epochs", "data.num_new"),
            *(f"strategy.{name}" for name in _OF_LATER_TASKS),
        )
    elif expert is None:
        reasons["strategy.expert=null adds none"] = (
            *("strategy.expert_mix", "strategy.expert_init", "strategy.outer_rate"),
        )
    elif "_rank" not in expert:
        reasons[f"strategy.expert={expert} is not of low rank"] = (
            "strategy.outer_rate",
        )
    if "_rank" in (getattr(config.model, "private_expert", None) or ""):
        names = [name for name in names if name != "strategy.outer_rate"]
    if getattr(config.model, "private_bn", False) and not getattr(
        config.strategy, "private_bn", True
    ):
        reasons["model.private_bn=true gives it"] = ("strategy.private_bn",)
    return [
        f"{name}: without effect, as {reason}"
        for reason, about in reasons.items()
        for name in names
        if name in about
    ]


_OF_LATER_TASKS = (
    *("expert", "expert_init", "expert_mix", "gate_init", "private_bn", "init"),
    *("use_extensions", "adapter", "outer_rate"),
)
"""Settings of a strategy about tasks that arrive after the first experience."""


def _grow(net: TaskNetwork, strategy: StrategyConfig, later: list[list[str]]) -> None:
    """Let a network take all later tasks; any known one stands for the closest."""
    for tasks in later:
        known = net.task_names[0]
        options = strategy.task_options(net)
        for name in (task for task in tasks if task not in net.task_names):
            net.add_task(
                name, **{k: known if v == CLOSEST else v for k, v in options.items()}
            )


def _check_base_model(config: RunConfig) -> None:
    if config.base_model is None:
        return
    given = f"base_model={config.base_model}"
    if len(config.stream().stream) == 1:
        raise UserError(
            f"{given}: this run has one experience, so nothing would remain to be "
            "learned; leave base_model out, or choose another scenario or strategy"
        )
    if config.strategy.learns_first:
        raise UserError(
            f"{given} with strategy={strategy_name(config.strategy)}: it measures "
            "while the network learns, so it must learn the first experience itself; "
            "leave base_model out"
        )
