"""The one place that turns settings into objects."""

import logging
import os

from continual_repmode import distributed
from continual_repmode.assembly import Run, assemble
from continual_repmode.combinations import check_combination
from continual_repmode.config.data import DataConfig, ManifestConfig, SyntheticConfig
from continual_repmode.config.run import RunConfig, plain_settings, strategy_name
from continual_repmode.data.collection import Collection
from continual_repmode.errors import UserError
from continual_repmode.files import sha256_of
from continual_repmode.manifests.check import sound_collection
from continual_repmode.models import ModelCard, TaskNetwork, load_model, read_card
from continual_repmode.paths import not_there, user_path
from continual_repmode.results import RunFolder
from continual_repmode.runtime import resolve_device, seed_everything
from continual_repmode.synthetic import SyntheticCells
from continual_repmode.training.base_model import load_base
from continual_repmode.training.losses import LOSSES
from continual_repmode.training.streams import build_benchmark
from continual_repmode.training.trackers import check_loggers
from continual_repmode.workers import Workers

_log = logging.getLogger(__name__)


def build_run(config: RunConfig, folder: RunFolder) -> Run:
    """Build everything a run needs, as it was after the last recorded experience.

    Raises UserError if the settings, the data, the scenario or the device do not allow
        the run.
    """
    check_combination(config)
    check_loggers(config.loggers)
    device = resolve_device(config.device)
    net = build_network(config, folder)
    _check_patch(config, net)
    base = _base_model(config, folder)
    tasks = {}
    if base and not folder.records():
        net = load_base(base["path"], net, may_be_frozen=config.strategy.freezes)
        known = read_card(base["path"])
        _check_grid(base["path"], known, config)
        tasks = known.tasks
    data, train = config.data, config.train
    collection = build_collection(config, config.stream().task_names)
    benchmark = build_benchmark(
        config.stream(),
        data=collection,
        patch_size=_triple(data.patch_size),
        flip_axes=data.flip_axes,
        pad_small=data.pad_small,
        sampling=data.sampling,
        variation=data.variation(),
        num_new=data.num_new,
    )
    return assemble(
        net,
        benchmark,
        folder,
        method=config.strategy,
        strategy=strategy_name(config.strategy),
        card=ModelCard(
            voxel_size_um=collection.voxel_size_um,
            resize=data.resize if isinstance(data, ManifestConfig) else None,
            order=data.order if isinstance(data, ManifestConfig) else None,
            tasks=tasks,
            run={"base_model": base} if base else {},
        ),
        seed=config.seed,
        learning_rate=train.learning_rate,
        schedule=train.schedule,
        save_every=train.save_every,
        loggers=config.loggers,
        settings=plain_settings(config),
        metrics=config.metrics,
        criterion=LOSSES[train.loss],
        train_mb_size=train.batch_size,
        train_epochs=train.epochs,
        extension_epochs=train.extension_epochs,
        device=device,
        validate_every=train.validate_every,
        ema=train.ema,
        patience=train.patience,
        mixing=train.mixing,
        window=data.window_size(),
        overlap=train.overlap,
        precision=train.precision,
        compile=train.compile,
        num_workers=train.num_workers,
    )


def build_collection(config: RunConfig, tasks: tuple[str, ...]) -> Collection:
    """Open the data; volumes that are not generated or prepared yet are now."""
    match config.data:
        case SyntheticConfig() as data:
            cells = SyntheticCells(
                num_train=data.num_train,
                num_valid=data.num_valid,
                num_test=data.num_test,
                shape=_triple(data.shape),
                seed=data.seed,
                tasks=tasks,
                cache_dir=data.cache_dir,
            )
            with distributed.first_before_others():
                cells.prepare(workers=Workers(os.cpu_count() or 1))
            return cells
        case ManifestConfig() as data:
            with distributed.first_before_others():
                check = sound_collection(
                    data.manifest,
                    tasks=tasks,
                    patch_size=_triple(data.patch_size),
                    pad_small=data.pad_small,
                    yes=data.yes,
                    workers=Workers(os.cpu_count() or 1),
                    root=data.root,
                    voxel_size_um=data.voxel_size_um,
                    source_voxel_size_um=data.source_voxel_size_um,
                    seed=data.seed,
                    resize=data.resize,
                    order=data.order,
                    storage=data.storage,
                    cache_dir=data.cache_dir,
                    refuse_missing_chunks=data.refuse_missing_chunks,
                )
            if distributed.is_first():
                for finding in check.findings:
                    _log.warning("%s: %s", finding.severity, finding.line())
                if data.seed and not check.collection.splits_at_random:
                    _log.warning(
                        "note: data.seed=%d: without effect, the manifest says the "
                        "split",
                        data.seed,
                    )
            return check.collection
    raise TypeError(f"no data source for {type(config.data).__name__}")


def build_network(config: RunConfig, folder: RunFolder) -> TaskNetwork:
    """Make the network, or load it as the last recorded experience left it."""
    done = folder.records()
    if done:
        return load_model(folder.checkpoint(done[-1].experience))
    seed_everything(config.seed)
    return config.model.build(config.stream().base_tasks)


def _base_model(config: RunConfig, folder: RunFolder) -> dict[str, str] | None:
    """Return path and digest of the model file that the run starts from, if any."""
    path = config.base_model
    if path is None:
        return None
    header = folder.sound_header()
    if folder.records() and header and "base_model" in header:
        known: dict[str, str] = header["base_model"]
        return known  # the file has done its part and may be gone
    file = user_path(path)
    if not file.is_file():
        raise UserError(
            f"base_model={path}: {not_there(file)}; give that of a saved model"
        )
    return {"path": str(file), "sha256": sha256_of(file)}


def _check_grid(path: str, known: ModelCard, config: RunConfig) -> None:
    """Refuse data that come onto another grid than those of the base model."""
    if not isinstance(config.data, ManifestConfig):
        return
    for name in ("voxel_size_um", "resize", "order"):
        theirs, ours = getattr(known, name), getattr(config.data, name)
        if theirs is not None and theirs != (tuple(ours) if name[0] == "v" else ours):
            wanted = str(list(theirs) if name[0] == "v" else theirs).replace(" ", "")
            raise UserError(
                f"base_model={path}: was trained with {name} {wanted}, not {ours}; set "
                f"data.{name}={wanted}"
            )


def _check_patch(config: RunConfig, net: TaskNetwork) -> None:
    """Refuse patches that the network would refuse, before any work starts."""
    for axis, side, divisor in zip(
        "ZYX", config.data.patch_size, net.divisor, strict=True
    ):
        if side % divisor:
            raise UserError(
                f"data.patch_size={config.data.patch_size}: the {axis} side {side} is "
                f"not a multiple of {divisor}, as model.depth={config.model.depth} "
                "needs it"
            )
    _check_generated(config.data)


def _check_generated(data: DataConfig) -> None:
    """Refuse patches that generated volumes are too small for."""
    if not isinstance(data, SyntheticConfig) or data.pad_small:
        return
    if any(size < side for size, side in zip(data.shape, data.patch_size, strict=True)):
        raise UserError(
            f"data.patch_size={data.patch_size}: larger than data.shape={data.shape}; "
            "choose a smaller patch or larger volumes, or set data.pad_small=true"
        )


def _triple(values: list[int]) -> tuple[int, int, int]:
    z, y, x = values
    return z, y, x
