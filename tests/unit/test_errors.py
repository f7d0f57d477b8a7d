import pickle

import pytest

from continual_repmode.errors import UserError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("größe 0.29 µm.tif: 細胞", "größe 0.29 µm.tif: 細胞"),
        ("a\nb.tif\x1b[31m", r"a\nb.tif\x1b[31m"),
        ("not Unicode: \udcf6", r"not Unicode: \udcf6"),
        ("one  two\\n", "one  two\\n"),
    ],
)
def test_a_message_is_one_printable_line(message, shown):
    assert str(UserError(message)) == shown


def test_another_process_sees_the_same_message():
    error = UserError("a\nb")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
