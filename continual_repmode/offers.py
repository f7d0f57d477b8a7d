"""What can be chosen by name: what this package has, and what other packages offer.

Another package offers something by an entry point of a group
``continual_repmode.<what>``, such as::

    [project.entry-points."continual_repmode.strategies"]
    theirs = "their_package.their_module:TheirsConfig"

Nothing is imported before it is needed.
"""

import logging
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from continual_repmode.errors import UserError

STRATEGIES = (
    "repmode = continual_repmode.training.strategies.repmode:RepModeConfig",
    "adapter = continual_repmode.training.strategies.adapter:AdapterConfig",
    "naive = continual_repmode.training.strategies.naive:NaiveConfig",
    "individual = continual_repmode.training.strategies.individual:IndividualConfig",
    "cumulative = continual_repmode.training.strategies.cumulative:CumulativeConfig",
    "joint = continual_repmode.training.strategies.joint:JointConfig",
    "replay = continual_repmode.training.strategies.replay:ReplayConfig",
    "gem = continual_repmode.training.strategies.gem:GEMConfig",
    "agem = continual_repmode.training.strategies.agem:AGEMConfig",
    "lwf = continual_repmode.training.strategies.lwf:LwFConfig",
    "der = continual_repmode.training.strategies.der:DERConfig",
    "ewc = continual_repmode.training.strategies.ewc:EWCConfig",
    "si = continual_repmode.training.strategies.si:SIConfig",
    "mas = continual_repmode.training.strategies.mas:MASConfig",
)
"""``name = module:class``, as in an entry point; the name is that of ``strategy=``."""

NETWORKS = (
    "repmode = continual_repmode.models.repmode_config:RepModeModelConfig",
    "multinet = continual_repmode.models.methods.multinet:MultiNetConfig",
    "fnet = continual_repmode.models.methods.multinet:FNetConfig",
    "multihead_dec = continual_repmode.models.methods.multihead:MultiHeadConfig",
    "multihead_las = continual_repmode.models.methods.multihead:MultiHeadOutputConfig",
    "condnet = continual_repmode.models.methods.condnet:CondNetConfig",
    "tsn = continual_repmode.models.methods.tsn:TSNConfig",
    "pipofan = continual_repmode.models.methods.pipofan:PipoFanConfig",
    "dodnet = continual_repmode.models.methods.dodnet:DoDNetConfig",
    "tgnet = continual_repmode.models.methods.tgnet:TGNetConfig",
)
"""The same for ``model=``; the class is that of the settings."""

METRICS = (
    "ssim = continual_repmode.metrics.similarity:SSIM",
    "nrmse = continual_repmode.metrics.similarity:NRMSE",
    "psnr = continual_repmode.metrics.similarity:PSNR",
    "spectral_r = continual_repmode.metrics.similarity:SPECTRAL_R",
    "fsc_um = continual_repmode.metrics.similarity:FSC_UM",
    "foreground_mse = continual_repmode.metrics.similarity:FOREGROUND_MSE",
    "foreground_r = continual_repmode.metrics.similarity:FOREGROUND_R",
    "count_error = continual_repmode.metrics.objects:COUNT_ERROR",
    "dice = continual_repmode.metrics.objects:DICE",
    "average_precision = continual_repmode.metrics.objects:AVERAGE_PRECISION",
    "lmc_mae = continual_repmode.metrics.light_my_cells:MAE",
    "lmc_ssim = continual_repmode.metrics.light_my_cells:SSIM",
    "lmc_euclidean = continual_repmode.metrics.light_my_cells:EUCLIDEAN",
    "lmc_cosine = continual_repmode.metrics.light_my_cells:COSINE",
)
"""The same for ``metrics=``; what is there is a metric."""

_OURS = {"strategies": STRATEGIES, "networks": NETWORKS, "metrics": METRICS}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that can be chosen by its name."""

    name: str
    #: Where it is.
    entry: EntryPoint
    #: The distribution that offers it; None: this one.
    package: str | None = None

    def load(self, kind: type) -> Any:
        """Import what is offered.

        ``kind``: what it must be an instance or, if it is a class, a subclass of.
        Raises UserError if another package's module cannot be imported, or has
            something else there.
        """
        try:
            found = self.entry.load()
        except Exception as error:
            if self.package is None:
                raise
            reason = " ".join(str(error).split())
            raise self._fault(f"{type(error).__name__}: {reason}") from error
        fits = isinstance(found, kind) or (
            isinstance(found, type) and issubclass(found, kind)
        )
        if not fits:
            raise self._fault(f"that is no {kind.__name__}")
        return found

    def _fault(self, reason: str) -> UserError:
        what = self.entry.group.rpartition(".")[2]
        return UserError(
            f"the package {self.package} offers {self.name!r} among {what}, but "
            f"{self.entry.value} cannot be used: {reason}; update or uninstall "
            f"{self.package}"
        )


@cache
def offers(what: str) -> dict[str, Offer]:
    """Return everything of a kind by name, ours first; others cannot take its place.

    ``what``: "strategies" or "networks" or "readers" or "metrics" or "segmenters".
    """
    group = f"continual_repmode.{what}"
    found: dict[str, Offer] = {}
    for line in _OURS.get(what, ()):
        name, _, value = line.partition(" = ")
        found[name] = Offer(name, EntryPoint(name, value, group))
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist else "unknown"
        if entry.name in found:
            taken = found[entry.name].package or "continual-repmode"
            if taken != package:
                _log.warning("%s: %r is taken by %s", package, entry.name, taken)
            continue
        found[entry.name] = Offer(entry.name, entry, package)
    return found
