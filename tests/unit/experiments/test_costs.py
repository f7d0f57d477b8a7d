"""What a training step takes is measured on a run that nobody follows."""

import json

from continual_repmode.compose import compose_runs
from continual_repmode.config.run import dump_run_config
from continual_repmode.experiments.costs import NUM_STEPS, prepare_steps

TINY = [
    "scenario=base_tasks",
    "scenario.experiences=[[dna]]",
    "data.num_train=4",
    "data.num_valid=1",
    "data.num_test=1",
    "data.shape=[8,16,16]",
    "data.patch_size=[8,16,16]",
    "model=fnet",
    "model.width=2",
    "model.depth=1",
    "strategy=naive",
    "train.batch_size=4",
    "train.epochs=50",
    "device=cpu",
]


def test_steps_are_timed_beyond_the_end_of_an_epoch(tmp_path):
    (config,) = compose_runs([TINY])  # its epochs have one step
    assert config.loggers
    seconds = tmp_path / "seconds.json"
    prepare_steps(dump_run_config(config), str(tmp_path / "run"), str(seconds))()
    assert len(json.loads(seconds.read_text())["seconds"]) == NUM_STEPS
