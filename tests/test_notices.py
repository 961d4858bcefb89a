"""A line on stderr."""

import sys

import pytest

from fastcnn import notices


@pytest.mark.parametrize("bar", [True, False])
def test_a_line(capsys, monkeypatch, bar):
    import tqdm

    monkeypatch.setitem(sys.modules, "tqdm", tqdm if bar else None)
    monkeypatch.setattr(notices, "_said", set())
    notices.say("a")
    notices.say_once("b", "b 1")
    notices.say_once("b", "b 2")
    assert capsys.readouterr() == ("", "a\nb 1\n")
