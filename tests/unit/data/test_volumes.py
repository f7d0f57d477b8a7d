from pathlib import Path

import numpy as np
import pytest
import tifffile

from continual_repmode.data.volumes import channel_index, open_volume
from continual_repmode.errors import UserError


def named_channels(path: Path, *names: str) -> Path:
    tifffile.imwrite(
        path, np.zeros((len(names), 2, 8, 8), np.uint8), ome=True,
        metadata={"axes": "CZYX", "Channel": {"Name": list(names)}},
    )  # fmt: skip
    return path


def test_a_missing_file_and_an_unknown_kind_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match=r"b\.tif: no such file"):
        open_volume(tmp_path / "b.tif")
    with pytest.raises(UserError, match=r"a\.png: cannot read \.png; save it as TIFF"):
        open_volume(tmp_path / "a.png")


def test_channels_go_by_index_or_name(tmp_path: Path) -> None:
    volume = open_volume(named_channels(tmp_path / "a.ome.tif", "light", "DNA"))

    assert channel_index(volume, 1) == channel_index(volume, "DNA") == 1


@pytest.mark.parametrize("channel", [2, -1, "dna", ""])
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
