"""The whole of an extension: check, learn, prove, compare, write."""

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from continual_repmode import distributed
from continual_repmode.analysis.continual import publish
from continual_repmode.analysis.plots import (
    plot_learning_curves,
    plot_samples,
    save_figure,
)
from continual_repmode.assembly import Run
from continual_repmode.extending.base_network import open_base
from continual_repmode.extending.image_curve import CurvePoint, curve_sizes, verdict
from continual_repmode.extending.image_figure import plot_images
from continual_repmode.extending.lab_volumes import (
    LabVolumes,
    open_lab_volumes,
    task_in,
)
from continual_repmode.extending.learning import Lesson
from continual_repmode.extending.provenance import (
    check_folder,
    claim_folder,
    provenance_of,
)
from continual_repmode.extending.reference import Comparison, Side
from continual_repmode.extending.settings import ExtensionSettings
from continual_repmode.files import replacing
from continual_repmode.paths import user_path
from continual_repmode.processes import command_line
from continual_repmode.results import (
    ExperienceRecord,
    RunFolder,
    read_json,
    write_json,
)
from continual_repmode.runtime import resolve_device
from continual_repmode.trained_model import TrainedModel
from continual_repmode.training.plan import (
    Learning,
    depth_of_projections,
    plan_training,
)
from continual_repmode.training.trackers import check_loggers
from continual_repmode.volumes.preparation import VoxelSizeUm


@dataclass(frozen=True, kw_only=True, slots=True)
class Extension:
    """A structure that was added.

    Attributes
    ----------
    folder : Path
        A run folder (:mod:`continual_repmode.results`) with, besides,
        ``extension.json`` (what decides the result), ``model.safetensors``,
        ``images.json`` and ``images/<number>/`` (learned from fewer images), and
        ``reference.json`` and ``reference/``, a run folder of its own (learned from
        scratch).
    model : Path
        The extended network.
    task : str
    num_images : dict of str to int
        Split -> images.
    record : ExperienceRecord
        How it was learned, what it reaches on the test images, and the proofs that the
        earlier tasks are unchanged.
    points : tuple of CurvePoint
        Validation error over the number of training images; only all of them if no
        curve was wanted.
    verdict : str or None
        Whether more images would probably help; None without a curve.
    comparison : Comparison or None
        With the network from scratch; None if it was not asked for.
    """

    folder: Path
    model: Path
    task: str
    num_images: dict[str, int]
    record: ExperienceRecord
    points: tuple[CurvePoint, ...]
    verdict: str | None
    comparison: Comparison | None


def extend_model(
    model: str | Path,
    manifest: str | Path,
    task: str,
    *,
    folder: str | Path | None = None,
    settings: ExtensionSettings | None = None,
) -> Extension:
    """Add a structure to a trained network from a lab's own pairs.

    The data of the earlier tasks are not needed, and these tasks stay the same to the
    bit, which is proved. Called again, it resumes where it was interrupted.

    Parameters
    ----------
    model : str or Path
        A model file with a RepMode network; it is only read.
    manifest : str or Path
        Lists the pairs, as for
        :class:`continual_repmode.manifests.manifest.ManifestCollection`. Rows of other
        tasks are ignored.
    task : str
        The structure, as the manifest calls it, in any case.
    folder : str or Path, optional
        Where the results go; by default that of :func:`default_folder`.
    settings : ExtensionSettings, optional

    Returns
    -------
    Extension

    Raises
    ------
    UserError
        Before anything is learned, if the model, the data or the folder do not allow
        it; later, if training diverges.
    ForgettingError
        If an earlier task changed.
    """
    settings = settings or ExtensionSettings()
    check_loggers(settings.loggers)
    model, manifest = user_path(model), user_path(manifest)
    device = resolve_device(settings.device)
    task = task_in(manifest, task, settings)
    base = open_base(model, task, settings)
    target = RunFolder(default_folder(model, task) if folder is None else folder)
    check_folder(target, task, base)
    with distributed.first_before_others():
        volumes = open_lab_volumes(manifest, task, base, settings)
    if settings.plan == "auto":
        settings, volumes = _planned(target, base, volumes, task, settings, device)
    num_train = len(volumes.collection.pairs(task, "train"))
    sizes = curve_sizes(settings.image_curve, num_train)
    with target.held():
        provenance = provenance_of(task, base, volumes, settings)
        with distributed.first_before_others():
            provenance = claim_folder(target, provenance)
        settings = replace(settings, reference=provenance["reference"])
        command = _command(model, manifest, task, target.path, settings)
        lesson = Lesson(
            base=base,
            volumes=volumes,
            provenance=provenance,
            device=device,
            loggers=settings.loggers,
        )
        run = lesson.extension(target)
        with run.tracking():
            _say(f"{target.path}: learning {task} from all {num_train} images")
            record = _learn_and_publish(run, command, settings.figures)
            comparison = None
            if settings.reference:
                _say(
                    f"{target.path}: learning {task} with a network from scratch, from "
                    f"all {num_train} images"
                )
                comparison = _compare_with_scratch(
                    lesson, target, record, command, settings.figures
                )
            variance, points = lesson.target_variance(), []
            for size in sizes:
                _say(
                    f"{target.path}: learning {task} from {size} of {num_train} images"
                )
                found = _learn_from_fewer(lesson, target, size)
                points.append(CurvePoint(size, found.best_valid_mse, variance))
            points.append(CurvePoint(num_train, record.best_valid_mse, variance))
            said = _publish_curve(run, task, points, settings.figures)
            run.hand_over()
        return Extension(
            folder=target.path,
            model=_model(target),
            task=task,
            num_images={
                split: len(names) for split, names in provenance["images"].items()
            },
            record=record,
            points=tuple(points),
            verdict=said,
            comparison=comparison,
        )


def _planned(
    target: RunFolder,
    base: TrainedModel,
    volumes: LabVolumes,
    task: str,
    settings: ExtensionSettings,
    device: torch.device,
) -> tuple[ExtensionSettings, LabVolumes]:
    """Return what a plan proposes, or the one that the folder was begun with."""
    if target.provenance.is_file():
        written = read_json(target.provenance)
        epochs, (z, y, x) = written["epochs"], written["patch_size"]
        settings = replace(settings, plan=None, epochs=epochs, patch_size=(z, y, x))
        return settings, replace(volumes, patch_size=(z, y, x))
    train, test = (volumes.collection.pairs(task, s) for s in ("train", "test"))
    z, y, x = (min(sides) for sides in zip(*(p.grid_shape for p in train), strict=True))
    num_voxels = sum(math.prod(pair.grid_shape) for pair in test)
    is_projected = task in volumes.collection.projections
    deepest = max(pair.grid_shape[0] for pair in train) if is_projected else 0
    own = plan_training(
        base.net,
        (z, y, x),
        [Learning(1, len(train), (len(base.net.task_names) + 1) * num_voxels)],
        batch_size=settings.batch_size,
        device=device,
        epochs=[settings.epochs],
        patch_size=settings.patch_size,
        depth=depth_of_projections(deepest, z, base.net.divisor[0], settings.pad_small),
    )
    plan = distributed.of_first(own)
    _say(f"plan: {plan}")
    settings = replace(
        settings, plan=None, epochs=plan.epochs[0], patch_size=plan.patch_size
    )
    return settings, replace(volumes, patch_size=plan.patch_size)


def _compare_with_scratch(
    lesson: Lesson,
    target: RunFolder,
    record: ExperienceRecord,
    command: str,
    formats: Sequence[str],
) -> Comparison:
    """Let a network learn from scratch in a folder of its own, and compare."""
    folder = RunFolder(target.path / "reference")
    other = _learn_and_publish(lesson.from_scratch(folder), command, formats)
    variance = lesson.target_variance()
    comparison = Comparison(
        extension=Side.of(record, variance), scratch=Side.of(other, variance)
    )
    if distributed.is_first():
        write_json(target.path / "reference.json", comparison.as_json())
    return comparison


def default_folder(model: Path, task: str) -> Path:
    """Return ``<model>+<task>`` in the current folder.

    The model of an earlier extension is called after its folder, so that names tell
    what was added.
    """
    extended = RunFolder(model.parent).provenance.is_file()
    return Path(f"{model.resolve().parent.name if extended else model.stem}+{task}")


def _command(
    model: Path, manifest: Path, task: str, folder: Path, settings: ExtensionSettings
) -> str:
    words = ["extend", str(model), str(manifest), "--task", task, "--out", str(folder)]
    return command_line(["continual-repmode", *words, *settings.command_line()])


def _model(folder: RunFolder) -> Path:
    """Return where the network that was learned from all images is."""
    return folder.path / "model.safetensors"


def _learn_and_publish(
    run: Run, command: str, formats: Sequence[str]
) -> ExperienceRecord:
    """Learn from all images; write the model, tables and figures."""
    folder = run.folder
    if distributed.is_first():
        run.write_header(command)
    run.learn()
    with distributed.first_before_others():
        if distributed.is_first():
            run.show(*_publish(folder, run.card.voxel_size_um, formats))
    return folder.records()[0]


def _publish(
    folder: RunFolder, voxel_size_um: VoxelSizeUm | None, formats: Sequence[str]
) -> list[Path]:
    """Write tables, figures and the model; return the figures."""
    publish(folder)
    figures = {
        "learning_curves": plot_learning_curves(folder.records()),
        "samples": plot_samples(folder, voxel_size_um),
    }
    written = [
        save_figure(figure, folder.figures / f"{name}.png", *formats)
        for name, figure in figures.items()
    ]
    model = _model(folder)
    if not model.is_file():
        with replacing(model) as temporary:
            shutil.copyfile(folder.checkpoint(0), temporary)
    return written


def _learn_from_fewer(
    lesson: Lesson, target: RunFolder, num_images: int
) -> ExperienceRecord:
    """Learn from the first training images; only the record is kept."""
    folder = RunFolder(target.path / "images" / str(num_images))
    lesson.extension(folder, num_images=num_images).learn()
    with distributed.first_before_others():
        folder.checkpoint(0).unlink(missing_ok=True)
    return folder.records()[0]


def _publish_curve(
    run: Run, task: str, points: Sequence[CurvePoint], formats: Sequence[str]
) -> str | None:
    """Write the table and the figure of the image curve; return the verdict."""
    if len(points) < 2:
        return None
    said = verdict(points)
    if not distributed.is_first():
        return said
    content = {"points": [asdict(point) for point in points], "verdict": said}
    write_json(run.folder.path / "images.json", content)
    path = run.folder.figures / "images.png"
    run.show(save_figure(plot_images(points, task), path, *formats))
    return said


def _say(line: str) -> None:
    if distributed.is_first():
        print(line, file=sys.stderr, flush=True)
