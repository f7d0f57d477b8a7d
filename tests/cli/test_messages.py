"""Help in under a second, and one clear line for every mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from continual_repmode.__main__ import main
from continual_repmode.commands import VERBS
from continual_repmode.compose import launch

HELP = {
    "--help": "run       learn a stream of tasks",
    "check": "MANIFEST",
    "demo": "says nothing about real ones",
    "download": "dna alone needs all nine",
    "export": "bioimageio",
    "extend": "--image-curve",
    "import": "--from",
    "info": "--verify",
    "inspect": "--picture",
    "merge": "--rename",
    "predict": "--voxel-size Z Y X",
    "prepare": "--cache-dir",
    "report": "RUN_FOLDER",
    "run": "hydra.run.dir=FOLDER",
    "status": "how long it takes yet",
    "tables": "label_efficiency",
}
HEAVY = "{'torch', 'numpy', 'scipy', 'hydra', 'avalanche', 'matplotlib', 'jinja2'}"


def test_help_of_every_verb_comes_without_loading_anything_heavy():
    assert HELP.keys() == {"--help", *VERBS}
    code = f"""
import sys
from continual_repmode.__main__ import main
from continual_repmode.commands import VERBS
for verb in {list(HELP)}:
    assert main([verb, "--help"]) == 0
    print(sorted({HEAVY} & set(sys.modules)), "END")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    for text, (verb, said) in zip(done.stdout.split("END"), HELP.items(), strict=False):
        assert said in text, verb
        assert text.endswith("[] "), verb


def test_help_of_run_offers_every_option(capsys):
    assert main(["run", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("*incremental", "leave_one_out", "naive", "paper", "manifest"):
        assert option in text
    for option in ("*repmode", "multihead_las", "ablation/sigmoid_gate"):
        assert option in text
    assert max(map(len, text.splitlines())) <= 88


def test_without_arguments_the_help_is_shown(capsys):
    assert main([]) == 0
    assert "usage: continual-repmode COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.epocs=3"],
            "'train.epocs' with these options: did you mean train.epochs?"),
        (["sed=3"], "did you mean seed?"),
        (["data=manifest", "data.manifest=none.csv", "data.num_train=3"],
            "data.num_train belongs to data=synthetic: leave it out, or choose that"),
        (
            ["strategy.strength=3"],
            "strategy.strength belongs to strategy=lwf, ewc, si, mas: leave it out, or "
            "choose one of these",
        ),
        (["train.epochs=three"], "train.epochs=three: give a whole number"),
        (["data.shape=[8,x,16]"], "data.shape[1]=x: give a whole number"),
        (["train.learning_rate=x"], "train.learning_rate=x: give a number"),
        (["data.pad_small=1.5"], "data.pad_small=1.5: give true or false"),
        (["--epochs", "3"],
            "write a setting as name=value, such as train.epochs=VALUE"),
        (["--fast"], "write a setting as name=value, such as train.epochs=3"),
        (["scenario=incremntal"], "incremental, joint, leave_one_out"),
        (["strategy=emc"], "strategy=emc: choose one of adapter, agem, "),
        (["model=repmod"], "model=repmod: choose one of condnet, dodnet, fnet"),
        (["experiment=ablation/sgmoid"], "ablation/sgmoid: there is no such file"),
        (["scenario=mine.yaml"], "mine.yaml: No such file or directory; give the path"),
        (["model.width=0"], "model.width=0: must be at least 1"),
        (["nonsense"], "write a setting as name=value"),
        (["data=manifest"], "data.manifest: a value is needed"),
        (["data=manifest", "data.manifest=none.csv"], "none.csv"),
        (["data.patch_size=[16,30,32]"], "the Y side 30 is not a multiple of 4"),
        (["data.patch_size=[16,128,128]"],
            "data.patch_size=[16, 128, 128]: larger than data.shape=[8, 16, 16]"),
        (["device=tpu0"], "device='tpu0'"),
        (["reference=nowhere"], "nowhere: no results.json here"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    capsys, tmp_path, monkeypatch, cells_cache, settings, message
):
    monkeypatch.chdir(tmp_path)
    small = ["data.shape=[8,16,16]", f"data.cache_dir={cells_cache}"]
    few = ["data.num_train=1", "data.num_valid=1", "data.num_test=1"]
    given = {word.partition("=")[0] for word in settings}
    generated = [word for word in small + few if word.partition("=")[0] not in given]
    if "data=manifest" in settings:
        generated = []
    assert main(["run", *generated, *settings]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["hydra.run.dir=taken"],
        ["hydra.run.dir=taken/run"],
        ["-m", "seed=0,1", "hydra.sweep.dir=taken"],
    ],
)
def test_a_file_where_the_run_folder_goes_is_one_line(
    capsys, tmp_path, monkeypatch, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file")
    assert main(["run", *words]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert "choose another folder for the results: hydra.run.dir=FOLDER" in error


def test_a_full_disk_during_a_run_is_not_taken_for_a_bad_folder(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        launch(["hydra.run.dir=run"], fail)


def test_an_unknown_command_lists_the_known_ones(capsys):
    assert main(["trian"]) == 2
    error = capsys.readouterr().err
    assert "there is no command 'trian'; the commands are demo, predict" in error


def test_it_ends_quietly_when_nobody_reads_any_more():
    model = Path(__file__).parents[1] / "data" / "model_v2.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-m", "continual_repmode", "info", model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert (process.wait(), process.stderr.read()) == (141, b"")
    process.stderr.close()
