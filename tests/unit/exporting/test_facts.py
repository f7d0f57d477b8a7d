import hashlib

from continual_repmode import __version__
from continual_repmode.exporting.facts import as_text, facts_of
from continual_repmode.models.model_card import ModelCard, TaskCard
from continual_repmode.models.model_file import save_model
from continual_repmode.trained_model import TrainedModel

CARD = ModelCard(
    voxel_size_um=(0.29, 0.25, 0.2),
    tasks={"dna": TaskCard(target_mean=410.5, target_std=12.25)},
)


def test_facts_tell_what_a_user_has_to_know(make_net, tmp_path):
    path = tmp_path / "cells.safetensors"
    save_model(make_net(depth=2), path, CARD)
    facts = facts_of(TrainedModel.load(path), "dna", any_batch=True)
    assert facts["model_file"] == "cells.safetensors"
    assert facts["model_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["program_version"] == __version__
    assert facts["voxel_size_um"] == [0.29, 0.25, 0.2]
    assert (facts["target_mean"], facts["target_std"]) == (410.5, 12.25)
    assert facts["normalization"].startswith("z-score")
    assert "4 x 4 x 4" in facts["sizes"]
    assert "crop them away first" in facts["padding"]


def test_as_text_unknown_facts_are_left_out(make_model):
    text = as_text(facts_of(make_model(depth=1), "lysosome", any_batch=False))
    assert text["voxel_size_um"] == "[0.29, 0.25, 0.2]"
    assert text["batch"] == "1"
    assert "target_mean" not in text
