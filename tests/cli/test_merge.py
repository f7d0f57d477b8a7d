"""Two labs' extensions of one model, put together by the command."""

import pytest
import torch

from continual_repmode.commands.merge import main
from continual_repmode.errors import UserError
from continual_repmode.models import (
    ModelCard,
    RepModeUNet,
    TaskCard,
    load_model,
    read_card,
    save_model,
)
from continual_repmode.models.methods.multinet import MultiNet


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """Write models of labs that have each added a structure to base.safetensors."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    base = RepModeUNet(("dna", "nucleolus"), 2, 1, experts=("conv3", "conv1"))
    base.freeze()
    known = ModelCard(tasks={task: TaskCard() for task in base.task_names})
    save_model(base, "base.safetensors", known)

    def lab(name: str, task: str, **options) -> str:
        path = f"{name}.safetensors"
        net = load_model("base.safetensors")
        net.add_task(task, **options)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) / 10)
        tasks = {**known.tasks, task: TaskCard(target_mean=float(len(name)))}
        save_model(net, path, ModelCard(tasks=tasks, run={"seed": len(name)}))
        return path

    return lab


@torch.no_grad()
def prediction(path: str, task: str) -> torch.Tensor:
    net = load_model(path)
    signal = torch.linspace(-1, 1, 4 * 4 * 6).reshape(1, 1, 4, 4, 6).sin()
    return net(signal, net.task_label(task))


def test_the_merged_file_predicts_every_task_as_the_models_did(labs, capsys):
    files = [labs("a", "lysosome"), labs("bb", "golgi", private_bn=True)]
    files.append(labs("ccc", "peroxisome", expert=None))
    assert main([*files, "--out", "all.safetensors"]) == 0
    net = load_model("all.safetensors")
    assert net.task_names == ("dna", "nucleolus", "lysosome", "golgi", "peroxisome")
    for file in files:
        for task in load_model(file).task_names:
            assert torch.equal(
                prediction("all.safetensors", task), prediction(file, task)
            )
    out = capsys.readouterr().out
    assert "all.safetensors: 5 tasks: dna, nucleolus, lysosome, golgi" in out
    assert "to the bit: 9 of 9 fingerprints are equal" in out


def test_the_merged_file_says_where_its_tasks_are_from(labs):
    files = [labs("a", "lysosome"), labs("bb", "golgi")]
    main([*files, "--out", "all.safetensors"])
    card = read_card("all.safetensors")
    assert list(card.tasks) == ["dna", "nucleolus", "lysosome", "golgi"]
    assert [card.task(t).target_mean for t in ("lysosome", "golgi")] == [1.0, 2.0]
    assert card.versions["torch"]
    first, second = card.run["merged"]
    assert (first["file"], first["run"]) == ("a.safetensors", {"seed": 1})
    assert len(second["sha256"]) == 64


def test_a_task_that_both_have_is_refused_until_it_is_renamed(labs, capsys):
    files = [labs("a", "lysosome"), labs("bb", "lysosome")]
    with pytest.raises(UserError, match=r"a.safetensors and bb.*--rename lysosome="):
        main([*files, "--out", "all.safetensors"])
    main([*files, "--out", "all.safetensors", "--rename", "lysosome=lysosome_b"])
    for task, file in zip(("lysosome", "lysosome_b"), files, strict=True):
        assert torch.equal(
            prediction("all.safetensors", task), prediction(file, "lysosome")
        )
    assert read_card("all.safetensors").task("lysosome_b").target_mean == 2.0
    out = capsys.readouterr().out
    assert "lysosome of bb.safetensors is now lysosome_b" in out


def test_another_base_is_refused_and_nothing_is_written(labs, tmp_path):
    one = labs("a", "lysosome")
    base = load_model("base.safetensors")
    with torch.no_grad():
        next(base.parameters()).add_(1.0)
    save_model(base, "base.safetensors")
    other = labs("bb", "golgi")
    with pytest.raises(UserError, match=r"do not extend the same base.*SHA-256"):
        main([one, other, "--out", "all.safetensors"])
    assert not (tmp_path / "all.safetensors").exists()


def test_other_networks_are_refused_with_the_reason(labs):
    save_model(MultiNet(("dna",), width=2, depth=1), "multi.safetensors")
    with pytest.raises(UserError, match=r"multi.safetensors: holds a MultiNet; only"):
        main([labs("a", "lysosome"), "multi.safetensors", "--out", "all.safetensors"])


def test_a_file_that_is_there_is_replaced_only_when_told(labs):
    words = [labs("a", "lysosome"), "base.safetensors", "--out", "all.safetensors"]
    main(words)
    with pytest.raises(UserError, match=r"all.safetensors: exists.*--overwrite"):
        main(words)
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("base.safetensors --out x.safetensors", "two or more"),
        ("base.safetensors a.safetensors", "--out"),
        ("base.safetensors a.safetensors --out x.pt", r"ends with \.safetensors"),
        ("base.safetensors a.safetensors --out a.safetensors --overwrite",
            "one of the models"),
        ("base.safetensors none.safetensors --out x.safetensors", "none.*no such file"),
        ("base.safetensors a.safetensors --out x.safetensors --rename lysosome",
            "OLD=NEW"),
        ("base.safetensors a.safetensors --out x.safetensors --rename zebra=b",
            "no model but the first has a task zebra"),
        ("base.safetensors a.safetensors --out x.safetensors --rename dna=b",
            "'dna' cannot be renamed"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(labs, tmp_path, words, message):
    labs("a", "lysosome")
    with pytest.raises(UserError, match=message) as caught:
        main(words.split())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.safetensors").exists()
