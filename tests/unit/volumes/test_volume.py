import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile

from continual_repmode.errors import UserError
from continual_repmode.volumes.opening import open_volume
from continual_repmode.volumes.volume import (
    ChoiceNeededError,
    channel_index,
    check_size,
    chosen_index,
)


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


SUFFIXES = [".tif", ".ome.tiff", ".companion.ome", ".czi", ".npy"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_file_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()

    with pytest.raises(UserError, match="the file is empty; fetch or save it again"):
        open_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pointer_file_tells_how_to_fetch_the_real_one(
    tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"a{suffix}").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    )

    with pytest.raises(UserError, match=r"only a pointer.*with 'git lfs pull'"):
        open_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_kind_of_file_under_the_suffix_is_one_line(
    tmp_path: Path, suffix: str
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"\x89PNG\r\n\x1a\n" * 100)

    with pytest.raises(UserError) as error:
        open_volume(tmp_path / f"a{suffix}")
    assert "\n" not in str(error.value)


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tif")

    with pytest.raises(UserError, match="neither a file nor a folder"):
        open_volume(tmp_path / "a.tif")


def test_a_folder_without_zarr_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a folder without Zarr metadata"):
        open_volume(tmp_path)


def test_a_choice_of_an_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    path = named_channels(tmp_path / "a.ome.tif", "light")

    with pytest.raises(UserError, match="cannot choose by 'colour'; use scene, time"):
        open_volume(path, {"colour": "0"})


def test_channels_go_by_index_or_name(tmp_path: Path) -> None:
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", "light", "DNA"))

    assert channel_index(volume, 1) == channel_index(volume, "DNA") == 1


def test_names_go_in_any_case_and_by_what_they_mean(tmp_path: Path) -> None:
    volume = open_volume(
        named_channels(tmp_path / "a.ome.tif", "TL 100x", "EGFP", "H3342", "CMDRP")
    )

    assert channel_index(volume, "egfp") == 1
    assert channel_index(volume, "Bright") == 0
    assert channel_index(volume, "Hoechst") == 2
    assert channel_index(volume, "DRAQ5") == 3


def test_an_exact_name_goes_before_one_of_the_same_meaning(tmp_path: Path) -> None:
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", "Hoechst", "H3342"))

    assert channel_index(volume, "H3342") == 1
    with pytest.raises(UserError, match="several channels are named 'DAPI'"):
        channel_index(volume, "DAPI")


@pytest.mark.parametrize("channel", [2, -1, "mito", ""])
def test_an_unknown_channel_lists_the_choices(
    tmp_path: Path, channel: int | str
) -> None:
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", "light", "DNA"))

    with pytest.raises(UserError, match=r"no channel .*choose from 0 'light', 1 'DNA'"):
        channel_index(volume, channel)


def test_a_name_of_two_channels_is_ambiguous(tmp_path: Path) -> None:
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", "DNA", "DNA"))

    with pytest.raises(UserError, match="several channels are named 'DNA'"):
        channel_index(volume, "DNA")


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
