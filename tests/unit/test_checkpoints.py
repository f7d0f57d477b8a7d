import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from continual_repmode import checkpoints
from continual_repmode.checkpoints import (
    VERSION,
    read_header,
    read_tensors,
    write_tensors,
)
from continual_repmode.errors import UserError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "state.safetensors"


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def test_tensors_and_header_come_back_exactly(path):
    tensors = {
        "float": torch.tensor([0.1, -0.0, float("nan"), float("inf")]).double(),
        "half": torch.randn(3, 2).bfloat16(),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False]),
    }
    write_tensors(path, tensors, {"epoch": 3, "names": ["a", "ü"]})
    read, header = read_tensors(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        assert torch.equal(as_bytes(read[name]), as_bytes(tensor))
    expected = {"format": "continual_repmode", "version": VERSION}
    assert header == {**expected, "epoch": 3, "names": ["a", "ü"]}
    assert read_header(path) == header


def test_views_and_shared_memory_are_written_apart(path):
    base = torch.arange(24.0).view(4, 6)
    tensors = {
        "base": base,
        "same": base,
        "transposed": base.t(),
        "slice": base[1:3],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "parameter": torch.nn.Parameter(base),
    }
    write_tensors(path, tensors, {})
    read, _ = read_tensors(path)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
    read["base"].zero_()
    assert torch.equal(read["same"], base)


def test_read_tensors_own_their_memory(path):
    write_tensors(path, {"a": torch.ones(3), "b": torch.ones(5)}, {})
    read, _ = read_tensors(path)
    for tensor in read.values():
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_a_failed_write_leaves_the_old_file_and_no_litter(path, monkeypatch):
    write_tensors(path, {"a": torch.ones(2)}, {})

    def fail(tensors, temporary, metadata):
        temporary.write_bytes(b"half a file")
        raise SafetensorError("I/O error: disk full")  # as the library tells it

    monkeypatch.setattr(checkpoints, "save_file", fail)
    with pytest.raises(UserError, match=r"disk full: \S+ bytes needed, .* free\);"):
        write_tensors(path, {"a": torch.zeros(2)}, {})
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert torch.equal(read_tensors(path)[0]["a"], torch.ones(2))


@pytest.mark.parametrize("header", [{"format": "x"}, {"version": 2}])
def test_reserved_header_keys_are_refused(path, header):
    with pytest.raises(ValueError, match="reserved"):
        write_tensors(path, {}, header)


def test_numbers_that_json_lacks_are_refused(path):
    with pytest.raises(ValueError, match="JSON"):
        write_tensors(path, {}, {"loss": float("nan")})
    assert not path.exists()


def break_by_truncation(path):
    write_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-10])


def break_by_emptying(path):
    path.parent.mkdir()
    path.write_bytes(b"")


def break_by_text(path):
    path.parent.mkdir()
    path.write_text("this is not a tensor file")


def break_by_folder(path):
    path.mkdir(parents=True)


def break_by_absence(path):
    pass


def foreign(path):
    path.parent.mkdir()
    save_file({"a": torch.ones(1)}, path)


def foreign_header(path):
    path.parent.mkdir()
    metadata = {"continual_repmode_header": "not json"}
    save_file({"a": torch.ones(1)}, path, metadata=metadata)


def newer(path):
    path.parent.mkdir()
    header = json.dumps({"format": "continual_repmode", "version": VERSION + 1})
    metadata = {"continual_repmode_header": header}
    save_file({"a": torch.ones(1)}, path, metadata=metadata)


@pytest.mark.parametrize("read", [read_tensors, read_header])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (break_by_truncation, "truncated"),
        (break_by_emptying, "truncated"),
        (break_by_text, "truncated"),
        (break_by_folder, "is a folder"),
        (break_by_absence, "no such file"),
        (foreign, "not a file of this program"),
        (foreign_header, "not a file of this program"),
        (newer, f"version {VERSION + 1}.*up to {VERSION}"),
    ],
)
def test_unreadable_files_are_named_in_one_line(path, spoil, message, read):
    spoil(path)
    with pytest.raises(UserError, match=rf"state.safetensors: .*{message}") as error:
        read(path)
    assert "\n" not in str(error.value)
