from pathlib import Path

import pytest

from continual_repmode.allen.channels import find_channel
from continual_repmode.errors import UserError

SEVEN = ("Bright_1", "CMDRP", "", "EGFP", "", "H3342", "Bright_2")
FOUR = ("DRAQ5", "EGFP", "Hoechst", "TL")
NAMELESS = ("",) * 7
IMAGE = Path("a.czi")


def found(names, role, dataset="zo1"):
    channel = find_channel(IMAGE, names, role, dataset)
    assert channel.name == names[channel.index]
    return channel.index, channel.grounds


@pytest.mark.parametrize(
    ("names", "light", "structure", "dna"), [(SEVEN, 6, 3, 5), (FOUR, 3, 1, 2)]
)
def test_name_and_place_agree_in_both_layouts(names, light, structure, dna):
    assert found(names, "light") == (light, "name and place")
    assert found(names, "structure") == (structure, "name and place")
    assert found(names, "dna") == (dna, "name and place")


def test_of_several_channels_of_one_name_the_one_in_place_is_meant():
    names = ("TL",) * 3 + ("EGFP", "TL", "H3342", "TL")
    assert found(names, "light") == (6, "name and place")


@pytest.mark.parametrize("names", [NAMELESS, ("", "", "", "Camera", "", "x", "y")])
def test_names_that_say_nothing_leave_it_to_the_place(names):
    assert found(names, "light") == (6, "place")
    assert found(names, "structure") == (3, "place")


def test_a_number_of_channels_that_fits_no_layout_leaves_it_to_the_names():
    names = ("EGFP", "TL", "H3342")
    assert found(names, "light") == (1, "name")
    assert found(names, "structure") == (0, "name")


@pytest.mark.parametrize(
    ("names", "expected", "finding"),
    [
        (("TL", "", "", "EGFP", "", "H3342", ""), 6, "it is 0"),
        (("", "", "", "", "", "", "EGFP"), 6, "it is none"),
        (("TL", "TL", "", "EGFP", "", "H3342", "CMDRP"), 6, "it is 0 or 1"),
        (("TL", "EGFP", "H3342", ""), 3, "it is 0"),
    ],
)
def test_a_name_against_its_place_is_an_error_that_tells_both(names, expected, finding):
    with pytest.raises(UserError) as told:
        find_channel(IMAGE, names, "light", "zo1")
    message = str(told.value)
    assert message.startswith("a.czi: by its place, 'light' is channel ")
    assert f"channel {expected};" in message
    assert finding in message
    assert repr(names[0]) in message


@pytest.mark.parametrize("names", [("", ""), ("TL", "TL"), ()])
def test_neither_name_nor_place_is_an_error(names):
    with pytest.raises(UserError, match="cannot tell which channel shows 'light'"):
        find_channel(IMAGE, names, "light", "zo1")


@pytest.mark.parametrize("name", ["CMDRP", "EGFP", "", "TagRFP-T"])
def test_the_membrane_images_have_a_layout_of_their_own(name):
    names = ("", "", "", name, "TL")
    index, _ = found(names, "membrane", "membrane_caax_63x")
    assert index == 3
    assert found(names, "light", "membrane_caax_63x") == (4, "name and place")


def test_the_membrane_layout_counts_whatever_the_number_of_channels():
    names = ("EGFP", "", "", "", "")
    with pytest.raises(
        UserError, match="'membrane' is channel 3; by the names it is 0"
    ):
        find_channel(IMAGE, names, "membrane", "membrane_caax_63x")
    with pytest.raises(UserError, match="cannot tell"):
        find_channel(IMAGE, names[:3], "light", "membrane_caax_63x")
