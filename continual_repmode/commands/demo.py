"""``continual-repmode demo``: all of it in minutes, with a model that comes along."""

import shutil
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from continual_repmode.commands._manifest_arguments import Parser, parse
from continual_repmode.errors import UserError
from continual_repmode.paths import user_path
from continual_repmode.processes import command_line

_ABOUT = """\
Show what this program does, in less than five minutes on two cores.

Predicts two images with a small model that comes with the program; adds nucleolus, then
cell membrane, to it, each from thirteen images of a made-up lab; merges both; predicts
again with all twelve structures; and writes a report. Each command is printed before it
runs, so that you can run it on files of yours. All is left in one folder. After an
interruption, the same command resumes.

The model and all images are of generated cells: it says nothing about real ones."""

_LABS = {"nucleolus": "lab_a", "cell_membrane": "lab_b"}
_NOTE = "README.txt"
_README = """\
What `continual-repmode demo` left here. All images are of generated cells, and the
model knows {knows}.

images/                two fields: transmitted light (Bright) and DNA to compare with
model.safetensors      the model that comes with the program: ten structures
predicted/             what it predicts from the light, with metrics.csv for DNA
lab_a/, lab_b/         images of nucleolus and of cell membrane, and their manifests
with_nucleolus/        the model with nucleolus added: figures, proofs, report.html
with_cell_membrane/    the same with cell membrane
both.safetensors       both additions in one model
predicted_by_both/     all twelve structures of the two fields
prediction.png         the same, as a picture
report.html            both extensions on one page: open it in a browser
"""


def main(arguments: Sequence[str]) -> int:
    """Show it; return the exit status.

    Raises UserError if the folder is of something else, or one of the commands finds a
        mistake.
    """
    parser = Parser("demo", _ABOUT, "--out demo")
    add = parser.add_argument
    add("--out", default="demo", metavar="DIR", help="the folder (default: demo)")
    add(
        "--epochs",
        type=int,
        default=60,
        metavar="N",
        help="of each extension (default: 60); fewer are faster and learn less",
    )
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0
    if chosen.epochs < 1:
        raise UserError(f"--epochs {chosen.epochs}: use 1 or more")
    folder = user_path(chosen.out)
    if folder.exists() and not (folder / _NOTE).is_file():
        raise UserError(
            f"{folder}: exists and is not of an earlier demo; choose another folder "
            "with --out"
        )
    _show(folder, chosen.epochs)
    return 0


def _show(folder: Path, epochs: int) -> None:
    """Make the files, then run one command after another."""
    from continual_repmode.demo import IMAGES, MODEL, ONLY_GENERATED, write_lab
    from continual_repmode.files import write_whole

    began = time.monotonic()
    print(f"The model of this demo knows {ONLY_GENERATED}.", flush=True)
    write_whole(folder / _NOTE, _README.format(knows=ONLY_GENERATED))
    model, images, both = (
        folder / name for name in ("model.safetensors", "images", "both.safetensors")
    )
    images.mkdir(exist_ok=True)
    for source, copy in [(MODEL, model), *((i, images / i.name) for i in IMAGES)]:
        if not copy.is_file():  # a copy of now would be predicted again
            shutil.copyfile(source, copy)
    predicted = folder / "predicted"
    compared = ["--tasks", "dna", "--target", "DNA", "--out", predicted]
    _run("Predict DNA, and compare it with what was stained", "predict", model, images,
         *compared)  # fmt: skip
    extended = []
    for seed, (task, name) in enumerate(_LABS.items()):
        manifest = write_lab(folder / name, task, seed=seed)
        out = folder / f"with_{task}"
        _run(f"Add {task}, which the model does not know", "extend", model, manifest,
             "--task", task, "--epochs", epochs, "--image-curve", "none",
             "--cache-dir", folder / "prepared", "--out", out)  # fmt: skip
        extended.append(out)
    models = [out / "model.safetensors" for out in extended]
    _run("Put both into one model", "merge", *models, "--out", both, "--overwrite")
    by_both = folder / "predicted_by_both"
    _run("Predict all twelve structures", "predict", both, images, "--out", by_both)
    picture = _draw(images / IMAGES[0].name, by_both, folder / "prediction.png")
    page = folder / "report.html"
    _run("Write a report", "report", *extended, "--out", page, "--overwrite")
    minutes = (time.monotonic() - began) / 60
    print(
        f"\nDone in {minutes:.1f} minutes. Look at {picture} and, in a browser, {page}."
    )
    print(f"{folder / _NOTE} says what else is there.")
    print(f"The model knows {ONLY_GENERATED}.")


def _run(title: str, verb: str, *words: object) -> None:
    """Print a command and run it here."""
    arguments = [str(word) for word in words]
    print(f"\n# {title}")
    print(f"$ {command_line(['continual-repmode', verb, *arguments])}", flush=True)
    run: Callable[[Sequence[str]], int] = import_module(
        f"continual_repmode.commands.{verb}"
    ).main
    if run(arguments):
        raise UserError(f"{verb}: not all was done; the lines above say why")


def _draw(image: Path, predicted: Path, out: Path) -> Path:
    """Draw the light and every predicted structure of one image, middle planes."""
    from continual_repmode.analysis.plots import plot_predictions, save_figure
    from continual_repmode.volumes.opening import open_volume

    made = next(predicted.glob(f"{image.name.partition('.')[0]}*"))
    return save_figure(plot_predictions(open_volume(image), open_volume(made)), out)
