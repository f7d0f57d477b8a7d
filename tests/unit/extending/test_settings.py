"""Settings of an extension: their defaults, their limits, and as a command."""

import pytest

from continual_repmode.commands.extend import _parser, _settings
from continual_repmode.errors import UserError
from continual_repmode.extending import ExtensionSettings


@pytest.mark.parametrize(
    ("num_images", "batch_size", "epochs"),
    [(1, 4, 600), (4, 4, 600), (5, 4, 300), (54, 4, 43), (8, 1, 75)],
)
def test_epochs_make_about_as_many_steps_for_few_images_as_for_many(
    num_images, batch_size, epochs
):
    settings = ExtensionSettings(batch_size=batch_size)
    assert settings.num_epochs(num_images) == epochs
    assert ExtensionSettings(epochs=7).num_epochs(num_images) == 7


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"epochs": 0}, r"epochs=0: use 1 or more"),
        ({"batch_size": 0}, r"batch_size=0"),
        ({"workers": 0}, r"workers=0"),
        ({"learning_rate": 0.0}, r"learning_rate=0.0: use more than 0"),
        ({"learning_rate": float("nan")}, r"learning_rate=nan"),
        ({"seed": -1}, r"seed=-1"),
        ({"patch_size": (8, 0, 8)}, r"patch_size=\(8, 0, 8\)"),
        ({"image_curve": (0, 2)}, r"image_curve=\(0, 2\)"),
        ({"reference": "finetuned"}, r"reference='finetuned': use scratch or None"),
        ({"schedule": "cosine"}, r"schedule='cosine'"),
        ({"precision": "float16"}, r"precision='float16'"),
        ({"patience": 0}, r"patience=0: use 1 or more"),
        ({"loggers": ("csv", "neptune")}, r"loggers=neptune: use some of csv,tens"),
        ({"figures": ("gif",)}, r"figures=gif: use some of png,pdf,svg"),
        ({"metrics": ("dicee",)}, r"metrics=dicee: there is no such metric"),
    ],
)
def test_values_that_cannot_be_are_refused(chosen, message):
    with pytest.raises(UserError, match=message):
        ExtensionSettings(**chosen)


@pytest.mark.parametrize(
    "settings",
    [
        ExtensionSettings(),
        ExtensionSettings(epochs=3, patch_size=(8, 16, 16), batch_size=2, seed=5),
        ExtensionSettings(learning_rate=1e-4, schedule="constant", expert=None),
        ExtensionSettings(private_bn=False, use_extensions=True, expert="conv1"),
        ExtensionSettings(expert_mix="softmax", gate_init="dna", gate_rate=1.0),
        ExtensionSettings(image_curve=(1, 2), precision="bfloat16", root="my data"),
        ExtensionSettings(patience=5, loggers=("wandb",), figures=("png", "svg")),
        ExtensionSettings(loggers=()),
        ExtensionSettings(metrics=("ssim", "objects")),
        ExtensionSettings(image_curve=(), source_voxel_size_um=(0.5, 0.1, 0.1)),
        ExtensionSettings(voxel_size_um=(0.29, 0.108, 0.108), reference="scratch"),
    ],
)
def test_the_command_that_is_written_down_means_the_same_settings(settings):
    words = ["model", "manifest", "--task", "x", "--workers", "1"]
    parsed = _parser().parse_args([*words, *settings.command_line()])
    assert _settings(parsed) == settings
