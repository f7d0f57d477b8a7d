"""Makes the model and the images of the demonstration again, in minutes.

``python -m continual_repmode.demo`` trains with the settings of the default run and
writes into the package.
"""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from continual_repmode.demo import IMAGES, MODEL, ONLY_GENERATED, write_field
from continual_repmode.models import load_model, read_card, save_model
from continual_repmode.results import RunFolder

_RUN = ("run", "scenario=base_tasks", "device=cpu")
_SEED, _SHAPE = 2026, (16, 128, 128)


def make(model: Path, images: tuple[Path, ...], *settings: str) -> None:
    """Train a model and generate images, with further settings of the run."""
    with TemporaryDirectory() as folder:
        words = [*_RUN, *settings, f"hydra.run.dir={folder}/run"]
        subprocess.run([sys.executable, "-m", "continual_repmode", *words], check=True)
        trained = RunFolder(f"{folder}/run").checkpoint(0)
        card = read_card(trained)
        card = replace(card, run={**card.run, "knows": ONLY_GENERATED})
        save_model(load_model(trained), model, card)
    for index, path in enumerate(images):
        path.unlink(missing_ok=True)
        write_field(path, [_SEED, index], ("DNA", "dna"), _SHAPE)


if __name__ == "__main__":
    make(MODEL, IMAGES)
