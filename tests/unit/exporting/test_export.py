import pytest

from continual_repmode.errors import UserError
from continual_repmode.exporting import export
from continual_repmode.exporting.publication import Publication
from continual_repmode.extras import require


def test_a_file_that_deviates_is_not_kept(make_model, tmp_path, monkeypatch):
    path = tmp_path / "task.pt2"
    path.write_text("an older file")
    monkeypatch.setattr(export, "TorchFile", lambda _: lambda signal: signal * 0 + 7)
    with pytest.raises(UserError, match="nothing was written"):
        export.export_task(make_model(depth=1), "dna", "torch", path)
    assert path.read_text() == "an older file"
    assert list(tmp_path.iterdir()) == [path]


def test_only_bioimageio_keeps_license_and_authors():
    with pytest.raises(UserError, match="--format torch keeps no license"):
        export.check_request("torch", Publication(license="MIT", authors=("A",)))


def test_missing_packages_are_told_with_the_command_that_installs_them():
    require(("json", "torch.export"), "export", "this")
    with pytest.raises(UserError) as caught:
        require(("json", "no_such_a", "no_such_b.c"), "export", "--format onnx")
    assert str(caught.value) == (
        "--format onnx lacks no_such_a, no_such_b.c; install with: "
        'pip install ".[export]" in the folder of the project'
    )
