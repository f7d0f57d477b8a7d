"""What a lab reads on the terminal when its structure has been added."""

from continual_repmode.extending.extension import Extension
from continual_repmode.extending.reference import Comparison
from continual_repmode.metrics.further import metric_named
from continual_repmode.metrics.regression import METRICS

_WIDTH = 10


def format_extension(extension: Extension) -> str:
    """Return the scores, the proof, what they compare with and where everything is."""
    record, images = extension.record, extension.num_images
    unchanged = sum(proof["unchanged"] for proof in record.proofs)
    score = extension.points[-1].score
    lines = [
        f"{extension.task}: trained on {_images(images['train'])}, best after "
        f"{record.best_epoch} of {len(record.curve)} epochs (MSE {score.mse:.4f}, R² "
        f"{score.r2:.4f} on {_images(images['valid'])} for validation)",
        *([] if score.is_learned else [f"{extension.task}: {score.judgement()}"]),
        "",
        *_test_table(extension),
        "",
        f"{unchanged} of {len(record.proofs)} earlier structures unchanged (SHA-256)",
    ]
    if extension.comparison is not None:
        lines += ["", *_reference_table(extension.comparison)]
    if extension.verdict is not None:
        lines += ["", *_curve_table(extension), extension.verdict]
    places = {
        "model": extension.model,
        **(
            {"reference": extension.folder / "reference"}
            if extension.comparison
            else {}
        ),
        "figures": extension.folder / "figures",
        "everything": extension.folder,
    }
    return "\n".join([*lines, "", *(f"{n + ':':<12}{p}" for n, p in places.items())])


def _test_table(extension: Extension) -> list[str]:
    rows = extension.record.rows
    names = [*(row["image"] for row in rows), "mean"]
    width = max(map(len, [*names, "test image"]))
    measured = {
        name: metric
        for name in dict.fromkeys([*METRICS, *(n for row in rows for n in row)])
        if (metric := metric_named(name)) is not None
    }
    means = {m: _mean([row.get(m) for row in rows]) for m in measured}
    head = "".join(metric.label.rjust(_WIDTH + 1) for metric in measured.values())
    body = [
        name.ljust(width)
        + "".join(_number(row.get(m)).rjust(_WIDTH + 1) for m in measured)
        for name, row in zip(names, [*rows, means], strict=True)
    ]
    head = "test image".ljust(width) + head
    return [head, "-" * len(head), *body]


def _reference_table(comparison: Comparison) -> list[str]:
    sides = (comparison.extension, comparison.scratch)
    rows = {
        "parameters for this structure": [f"{side.num_parameters:,}" for side in sides],
        "validation MSE": [f"{side.valid_mse:.4f}" for side in sides],
        "validation R²": [f"{side.valid_r2:.4f}" for side in sides],
        "test MSE, mean": [f"{side.mean_test_mse:.4f}" for side in sides],
    }
    head = f"{'for reference':<29}  {'extension':>12}  {'from scratch':>12}"
    body = [f"{name:<29}  {a:>12}  {b:>12}" for name, (a, b) in rows.items()]
    return [head, "-" * len(head), *body, comparison.verdict()]


def _curve_table(extension: Extension) -> list[str]:
    return [
        "training images  validation MSE",
        "-------------------------------",
        *(
            f"{point.num_images:>15}  {point.valid_mse:>14.4f}"
            for point in extension.points
        ),
    ]


def _images(number: int) -> str:
    return f"{number} image" if number == 1 else f"{number} images"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
