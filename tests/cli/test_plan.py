"""``plan=auto``: what is proposed is written, and the run repeats by it."""

from pathlib import Path

import yaml

from continual_repmode.__main__ import main
from continual_repmode.config.run import load_run_config


def test_a_run_is_planned_once_and_its_settings_repeat_it(
    tmp_path: Path, tiny_settings, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    sized = ("data.patch_size", "data.window", "data.shape")
    settings = [
        *(w for w in tiny_settings(tmp_path) if w.partition("=")[0] not in sized),
        *("data.shape=[12,40,40]", "plan=auto", "hydra.run.dir=run"),
    ]
    short = {"train.epochs": 1, "train.extension_epochs": 2, "train.validate_every": 1}
    settings = [w for w in settings if w.partition("=")[0] not in short]
    settings += [f"{name}={value}" for name, value in short.items()]

    assert main(["run", *settings]) == 0

    said = capsys.readouterr().err
    assert "plan: patches and windows of 12 x 40 x 40, 1, 2 epochs: about 1 m" in said
    text = Path("run", "config.yaml").read_text()
    assert text.startswith("# plan: patches and windows of 12 x 40 x 40")
    written = load_run_config(text)
    assert written.data.patch_size == written.data.window == [12, 40, 40]
    assert (written.train.epochs, written.train.extension_epochs) == (1, 2)
    changed = yaml.safe_load(text)
    changed["data"]["patch_size"] = [8, 32, 32]  # as another machine would have it
    other = f"# plan: other\n{yaml.safe_dump(changed, sort_keys=False)}"
    Path("run", "config.yaml").write_text(other)
    before = Path("run", "results.json").stat().st_mtime_ns
    assert main(["run", *settings]) == 0
    assert "plan:" not in capsys.readouterr().err
    assert Path("run", "config.yaml").read_text() == other
    assert Path("run", "results.json").stat().st_mtime_ns >= before
    assert main(["run", *settings, "seed=5"]) == 2
    other_plan = [w.replace("plan=auto", "plan=fast") for w in settings]
    assert main(["run", *other_plan]) == 2
    assert "plan=fast: must be auto, or null" in capsys.readouterr().err
