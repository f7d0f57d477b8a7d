import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

from continual_repmode.errors import UserError
from continual_repmode.volumes.choices import (
    ChoiceNeededError,
    channel_index,
    chosen_index,
)
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import check_size


def named_channels(path: Path, *names: str) -> Path:
    tifffile.imwrite(
        path, np.zeros((len(names), 2, 8, 8), np.uint8), ome=True,
        metadata={"axes": "CZYX", "Channel": {"Name": list(names)}},
    )  # fmt: skip
    return path


def test_a_missing_file_and_an_unknown_kind_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"b\.tif: no such file"):
        open_volume(tmp_path / "b.tif")
    with pytest.raises(UserError, match=r"a\.png: cannot read \.png; readable are"):
        open_volume(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".tif", ".companion.ome", ".czi", ".npy"])
def test_what_is_not_of_its_kind_is_one_line(tmp_path: Path, suffix: str) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    for content, message in (
        (b"", "the file is empty; fetch or save it again"),
        (pointer, r"only a pointer.*with 'git lfs pull'"),
        (b"\x89PNG\r\n\x1a\n" * 100, r"a\."),
    ):
        (tmp_path / f"a{suffix}").write_bytes(content)
        with pytest.raises(UserError, match=message) as error:
            open_volume(tmp_path / f"a{suffix}")
        assert "\n" not in str(error.value)


def test_a_choice_of_an_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    path = named_channels(tmp_path / "a.ome.tif", "light")

    with pytest.raises(UserError, match="cannot choose by 'colour'; use scene, time"):
        open_volume(path, {"colour": "0"})


def test_channels_go_by_index_name_and_meaning(tmp_path: Path) -> None:
    names = "TL 100x", "EGFP", "H3342", "CMDRP"
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", *names))

    for channel, index in {
        1: 1, "EGFP": 1, "egfp": 1, "Bright": 0, "Hoechst": 2, "DRAQ5": 3
    }.items():  # fmt: skip
        assert channel_index(volume, channel) == index
    for unknown in (4, -1, "mito", ""):
        with pytest.raises(UserError, match=r"no channel .*choose from 0 'TL 100x', 1"):
            channel_index(volume, unknown)
    alike = open_volume(named_channels(tmp_path / "b.ome.tif", "Hoechst", "H3342"))
    assert channel_index(alike, "H3342") == 1  # before one of the same meaning
    twice = open_volume(named_channels(tmp_path / "c.ome.tif", "DNA", "DNA"))
    for volume, name in ((alike, "DAPI"), (twice, "DNA")):
        with pytest.raises(UserError, match=f"several channels are named '{name}'"):
            channel_index(volume, name)


def test_a_number_is_an_index_or_a_name_and_what_may_be_both_is_refused(
    tmp_path: Path,
) -> None:
    waves = open_volume(named_channels(tmp_path / "a.ome.tif", "405", "488"))
    cameras = open_volume(named_channels(tmp_path / "b.ome.tif", "1", "2"))
    same = open_volume(named_channels(tmp_path / "c.ome.tif", "0", "1"))

    assert channel_index(waves, "488") == channel_index(waves, "1") == 1
    assert channel_index(cameras, "0") == channel_index(cameras, "name:1") == 0
    assert channel_index(cameras, "2") == channel_index(cameras, "index:1") == 1
    assert channel_index(cameras, 1) == channel_index(same, "1") == 1
    with pytest.raises(
        UserError, match="channel '1' is the name of 0 and the index of"
    ):
        channel_index(cameras, "1")
    for wrong in ("index:2", "name:0", "index:x"):
        with pytest.raises(UserError, match=f"no channel '{wrong}'"):
            channel_index(cameras, wrong)
    scenes = Path("a.czi"), "scene", ["1", "2"]
    assert chosen_index(*scenes, {"scene": "name:1"}) == 0
    assert chosen_index(*scenes, {"scene": "2"}) == 1
    with pytest.raises(UserError, match="write name:1 or index:1"):
        chosen_index(*scenes, {"scene": "1"})


def test_the_only_one_needs_no_choice_and_several_do() -> None:
    path = Path("a.czi")

    assert chosen_index(path, "scene", [""], {}) == 0
    assert chosen_index(path, "scene", ["a", "b"], {"scene": "1"}) == 1
    assert chosen_index(path, "scene", ["a", "b"], {"scene": "b"}) == 1
    with pytest.raises(UserError, match=r"choose one: 0 to 1 \('a', 'b'\)"):
        chosen_index(path, "scene", ["a", "b"], {})
    error = ChoiceNeededError("a.czi: holds 2 of 'time'", "time")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(error).endswith("in Python by choices={'time': '0'}")
    for wrong in ("2", "c", "-1", ""):
        with pytest.raises(UserError, match=f"no scene '{wrong}'; choose from 0 to 1"):
            chosen_index(path, "scene", ["a", "b"], {"scene": wrong})


def test_a_promise_beyond_the_bytes_or_the_memory_is_refused() -> None:
    path, dtype = Path("a.tif"), np.dtype("uint16")

    check_size(path, (65, 624, 924), dtype, 10_000_000)
    with pytest.raises(UserError, match=r"promises an image of .* only 1000 bytes"):
        check_size(path, (65, 624, 9240), dtype, 1000)
    with pytest.raises(UserError, match="more than this machine's memory"):
        check_size(path, (10**6, 10**6, 10), dtype, 10**13)
