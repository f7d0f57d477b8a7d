"""Which settings of ``strategy`` go with which ``model``, and what they become."""

from typing import Any

import torch

from continual_repmode.config.model import (
    DoDNetConfig,
    MultiHeadConfig,
    MultiNetConfig,
    RepModeModelConfig,
    TGNetConfig,
)
from continual_repmode.config.run import RunConfig, option_name, strategy_name
from continual_repmode.config.strategy import (
    AdapterConfig,
    AGEMConfig,
    CumulativeConfig,
    DERConfig,
    EWCConfig,
    ExpertsConfig,
    GEMConfig,
    IndividualConfig,
    JointConfig,
    LwFConfig,
    MASConfig,
    MemoryConfig,
    NaiveConfig,
    ReplayConfig,
    RepModeConfig,
    SIConfig,
)
from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet, TaskNetwork
from continual_repmode.models.methods.adaptable import AdaptableNetwork
from continual_repmode.models.methods.task_parts import FRESH, PartedNetwork
from continual_repmode.models.networks import rebuild
from continual_repmode.training.avalanche_api import SupervisedPlugin
from continual_repmode.training.dense_strategy import DenseStrategy
from continual_repmode.training.plugins.agem import AGEMPlugin
from continual_repmode.training.plugins.cumulative import CumulativePlugin
from continual_repmode.training.plugins.der import DERPlugin
from continual_repmode.training.plugins.ewc import EWCPlugin
from continual_repmode.training.plugins.gem import GEMPlugin
from continual_repmode.training.plugins.lwf import LwFPlugin
from continual_repmode.training.plugins.mas import MASPlugin
from continual_repmode.training.plugins.replay import ReplayPlugin
from continual_repmode.training.plugins.si import SIPlugin
from continual_repmode.training.strategy import (
    CLOSEST,
    Adapter,
    Individual,
    Naive,
    RepMode,
)


def check_combination(config: RunConfig) -> None:
    """Refuse settings of ``model`` and ``strategy`` that do not go together.

    Raises
    ------
    UserError
        With the reason and a remedy; before any data are opened.
    """
    model, strategy = config.model, config.strategy
    pair = (
        f"model={option_name('model', model)} with strategy={strategy_name(strategy)}"
    )
    grows = len(config.stream().stream) > 1
    match strategy:
        case RepModeConfig() if not isinstance(model, RepModeModelConfig):
            raise UserError(
                f"{pair}: there are no experts and gates to add; use model=repmode, or "
                "strategy=naive"
            )
        case AdapterConfig() if not isinstance(model, MultiNetConfig | MultiHeadConfig):
            raise UserError(
                f"{pair}: adapters are for plain networks whose tasks have parts; use "
                "model=multihead_las, model=multihead_dec, model=multinet or model=fnet"
            )
        case IndividualConfig() if not isinstance(model, MultiNetConfig):
            raise UserError(
                f"{pair}: its tasks share a network; use model=multinet or model=fnet, "
                "or strategy=naive"
            )
        case (
            MemoryConfig()
            | GEMConfig()
            | LwFConfig()
            | EWCConfig()
            | SIConfig()
            | MASConfig()
        ) if isinstance(model, MultiNetConfig):
            raise UserError(
                f"{pair}: its tasks share nothing, so there is nothing to protect; use "
                "strategy=individual"
            )
    if isinstance(model, RepModeModelConfig):
        if model.gate_input == "features" and grows:
            raise UserError(
                f"{pair} and model.gate_input=features: these gates know no tasks, so "
                "none can be added; use a scenario of one experience, such as "
                "scenario=joint, or strategy=joint"
            )
    elif isinstance(strategy, NaiveConfig):
        _check_no_extension(pair, strategy)
    if isinstance(model, RepModeModelConfig | DoDNetConfig | TGNetConfig) and (
        isinstance(strategy, NaiveConfig)
    ):
        _check_no_part(pair, strategy)
    if isinstance(strategy, MemoryConfig):
        _check_memory(strategy, len(config.stream().task_names))
    _check_base_model(config)


def _check_no_extension(pair: str, strategy: NaiveConfig) -> None:
    """Refuse what only blocks of RepMode can be given for a new task."""
    for name in ("expert", "private_bn", "expert_mix", "gate_rate", "outer_rate"):
        value = getattr(strategy, name)
        if value != getattr(NaiveConfig(), name):
            raise UserError(
                f"{pair} and strategy.{name}={value}: only model=repmode can add that "
                f"to its blocks; leave strategy.{name} out"
            )


def _check_no_part(pair: str, strategy: NaiveConfig) -> None:
    """Refuse what only networks with a part per task can do for a new one."""
    if strategy.init != FRESH:
        raise UserError(
            f"{pair} and strategy.init={strategy.init}: this network has no part of a "
            "task to copy; leave strategy.init out"
        )


def _check_memory(strategy: MemoryConfig, num_tasks: int) -> None:
    if strategy.patches < num_tasks:
        raise UserError(
            f"strategy.patches={strategy.patches}: fewer than the {num_tasks} tasks of "
            f"the scenario; use at least {num_tasks}"
        )


def check_growth(config: RunConfig, net: TaskNetwork) -> None:
    """Let a network of the same structure, without values, take all later tasks.

    Raises
    ------
    UserError
        If it cannot; the method says why.
    """
    _, *later = config.stream().stream
    with torch.device("meta"):
        trial = rebuild(net.architecture())
    options = _growth_options(config.strategy, trial)
    try:
        for name in (task for tasks in later for task in tasks):
            if name not in trial.task_names:
                trial.add_task(name, **options)
    except UserError as error:
        strategy = strategy_name(config.strategy)
        starts = str(error).startswith(("gate_init ", "init "))
        more = f"; or {CLOSEST!r}, which finds one" if starts else ""
        raise UserError(f"strategy={strategy}: {error}{more}") from None


def _growth_options(strategy: Any, net: TaskNetwork) -> dict[str, Any]:
    """Return what a task is added with; that of the closest task is not known yet."""
    match strategy:
        case RepModeConfig():
            known = "mean" if strategy.gate_init == CLOSEST else strategy.gate_init
            return {
                "expert": strategy.expert,
                "private_bn": strategy.private_bn,
                "use_extensions": strategy.use_extensions,
                "gate_init": known,
                "expert_init": strategy.expert_init,
                "expert_mix": strategy.expert_mix,
            }
        case AdapterConfig(adapter=adapter, init=init):
            known = net.task_names[0] if init == CLOSEST else init
            return {"adapter": adapter, "init": known}
        case NaiveConfig() if isinstance(net, RepModeUNet):
            return {
                "expert": strategy.expert,
                "private_bn": strategy.private_bn,
                "expert_mix": strategy.expert_mix,
            }
        case NaiveConfig() if isinstance(net, PartedNetwork):
            return {"init": FRESH if strategy.init == CLOSEST else strategy.init}
    return {}


def _check_base_model(config: RunConfig) -> None:
    if config.base_model is None:
        return
    given = f"base_model={config.base_model}"
    if len(config.stream().stream) == 1:
        raise UserError(
            f"{given}: this run has one experience, so nothing would remain to be "
            "learned; leave base_model out, or choose another scenario or strategy"
        )
    if isinstance(config.strategy, SIConfig):
        raise UserError(
            f"{given} with strategy=si: it measures while the network learns, so it "
            "must learn the first experience itself; leave base_model out"
        )


def make_strategy(
    strategy: Any, net: TaskNetwork, plugins: list[SupervisedPlugin], **loop: Any
) -> DenseStrategy:
    """Make the strategy of these settings.

    Parameters
    ----------
    strategy : StrategyConfig
    net : TaskNetwork
    plugins : list of SupervisedPlugin
        Of the run; that of the method comes after them.
    **loop
        Further arguments of :class:`DenseStrategy`.
    """
    if isinstance(strategy, ExpertsConfig):
        loop["rate_factors"] = {
            "gates": strategy.gate_rate,
            "outer": strategy.outer_rate,
        }
    match strategy:
        case RepModeConfig():
            assert isinstance(net, RepModeUNet)
            return RepMode(
                model=net,
                expert=strategy.expert,
                private_bn=strategy.private_bn,
                use_extensions=strategy.use_extensions,
                gate_init=strategy.gate_init,
                expert_init=strategy.expert_init,
                expert_mix=strategy.expert_mix,
                plugins=plugins,
                **loop,
            )
        case AdapterConfig():
            assert isinstance(net, AdaptableNetwork)
            return Adapter(
                model=net,
                adapter=strategy.adapter,
                init=strategy.init,
                rate_factors={"outer": strategy.outer_rate},
                plugins=plugins,
                **loop,
            )
        case IndividualConfig():
            return Individual(model=net, plugins=plugins, **loop)
        case JointConfig():
            return Naive(model=net, plugins=plugins, **loop)
        case NaiveConfig():
            plugins = [*plugins, *_method_plugins(strategy)]
            return Naive(
                model=net,
                expert=strategy.expert,
                private_bn=strategy.private_bn,
                expert_mix=strategy.expert_mix,
                init=strategy.init,
                plugins=plugins,
                **loop,
            )
    raise TypeError(f"no strategy for {type(strategy).__name__}")


def _method_plugins(strategy: NaiveConfig) -> list[SupervisedPlugin]:
    """Make what a method adds to fine-tuning."""
    match strategy:
        case CumulativeConfig():
            return [CumulativePlugin()]
        case ReplayConfig(patches=patches, patches_per_step=number):
            return [ReplayPlugin(patches=patches, patches_per_step=number)]
        case DERConfig(patches=patches, patches_per_step=number):
            return [
                DERPlugin(
                    patches=patches,
                    patches_per_step=number,
                    alpha=strategy.alpha,
                    beta=strategy.beta,
                )
            ]
        case AGEMConfig(patches=patches, patches_per_step=number):
            return [AGEMPlugin(patches=patches, patches_per_step=number)]
        case GEMConfig(patches=patches, margin=margin):
            return [GEMPlugin(patches=patches, margin=margin)]
        case LwFConfig(strength=strength):
            return [LwFPlugin(strength=strength)]
        case EWCConfig(strength=strength):
            return [EWCPlugin(strength=strength)]
        case SIConfig(strength=strength, damping=damping):
            return [SIPlugin(strength=strength, damping=damping)]
        case MASConfig(strength=strength):
            return [MASPlugin(strength=strength)]
    if type(strategy) is NaiveConfig:
        return []
    raise TypeError(f"no plugin for {type(strategy).__name__}")
