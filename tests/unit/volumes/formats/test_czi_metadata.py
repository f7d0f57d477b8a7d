from pathlib import Path
from typing import Any

import numpy as np
import pytest

from continual_repmode.errors import UserError
from continual_repmode.volumes.formats.czi_metadata import CziMetadata
from continual_repmode.volumes.opening import open_volume


def document(dimensions: str = "", scaling: str = "", display: str = "") -> bytes:
    return (
        "<ImageDocument><Metadata><Information><Image><Dimensions>"
        f"{dimensions}</Dimensions></Image></Information>"
        f"<Scaling><Items>{scaling}</Items></Scaling>"
        f"<DisplaySetting><Channels>{display}</Channels></DisplaySetting>"
        "</Metadata></ImageDocument>"
    ).encode()


def channels(*named: tuple[int, str | None]) -> str:
    return "".join(
        f'<Channel Id="Channel:{k}"'
        + ("" if name is None else f' Name="{name}"')
        + "/>"
        for k, name in named
    )


LENGTHS = {
    "2.9E-07": 0.29, "9.0576674152210312E-08": 0.090576674152210312, "1": 1e6,
    **dict.fromkeys(("0", "0.0", "-1e-7", "", "NaN", "Infinity", "wide")),
    **dict.fromkeys(("1e999999", "1e-999999")),
}  # fmt: skip


def test_scaling_is_in_metres_and_what_makes_no_length_is_missing() -> None:
    for metres, expected_um in LENGTHS.items():
        scaling = f'<Distance Id="Z"><Value>{metres}</Value></Distance>'
        metadata = CziMetadata.parse(document(scaling=scaling))
        assert metadata.voxel_size_um == (expected_um, None, None), metres


def test_each_axis_has_its_own_scaling() -> None:
    scaling = "".join(
        f'<Distance Id="{axis}"><Value> {metres}\n</Value></Distance>'
        for axis, metres in (("X", "1.083e-7"), ("Y", "1.08e-7"), ("Z", "2.9e-7"))
    )

    metadata = CziMetadata.parse(document(scaling=scaling))

    assert metadata.voxel_size_um == (0.29, 0.108, 0.1083)


def test_channel_names_fall_back_to_the_display_settings() -> None:
    named = "<Channels>" + channels((0, "EGFP"), (1, ""), (2, None)) + "</Channels>"
    display = channels((2, "TL"), (1, "H3342"), (0, "green"))

    def names(**parts: str) -> tuple[str, ...]:
        return CziMetadata.parse(document(**parts)).channel_names

    assert names(dimensions=named, display=display) == ("EGFP", "H3342", "TL")
    assert names(dimensions=named) == ("EGFP", "", "")
    assert names(display=display) == ("TL", "H3342", "green")
    assert names() == ()


def test_nothing_is_known_without_metadata() -> None:
    metadata = CziMetadata.parse(b"\0\0")

    assert metadata.channel_names == ()
    assert metadata.scene_names == {}
    assert metadata.voxel_size_um == (None, None, None)


def test_a_file_without_metadata_opens(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    plane = np.zeros((4, 4), np.uint8)
    blocks = [raw_block(plane, {"C": c}) for c in range(2)]

    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks))

    assert volume.channel_names == ("", "")
    assert volume.voxel_size_um == (None, None, None)


@pytest.mark.parametrize(
    "xml",
    [b"<ImageDocument>", b"no xml", b'<?xml version="1.0" encoding="klingon"?><a/>',
     b"\xff\xfe\x00", b"<a>" * 100_000,
     b'<!DOCTYPE a [<!ENTITY b "' + b"c" * 10_000 + b'"><!ENTITY d "' + b"&b;" * 10_000
     + b'"><!ENTITY e "' + b"&d;" * 10_000 + b'">]><a>&e;</a>'],
    ids=["unclosed", "text", "encoding", "bytes", "deep", "entities"],
)  # fmt: skip
def test_metadata_that_are_no_xml_are_damage(
    tmp_path: Path, pack_czi: Any, raw_block: Any, xml: bytes
) -> None:
    block = raw_block(np.zeros((4, 4), np.uint8))

    with pytest.raises(UserError, match=r"a\.czi: damaged .*its metadata are no XML"):
        open_volume(pack_czi(tmp_path / "a.czi", [block], xml=xml))


def test_names_belong_to_the_index_of_the_channel(
    tmp_path: Path, pack_czi: Any, raw_block: Any
) -> None:
    plane = np.zeros((4, 4), np.uint8)
    xml = document(f"<Channels>{channels((0, 'A'), (1, 'B'), (2, 'C'))}</Channels>")
    blocks = [raw_block(plane, {"C": c}) for c in (2, 0)]  # a scene without channel 1

    volume = open_volume(pack_czi(tmp_path / "a.czi", blocks, xml=xml))

    assert volume.channel_names == ("A", "C")
