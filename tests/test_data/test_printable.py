"""Text from outside is shown as what it is, on one line, and no longer than asked."""

import pytest
from strange import IDS

from data.printable import printable


@pytest.mark.parametrize("text", IDS)
def test_whatever_comes_can_be_printed_on_one_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    assert shown == text or "\\" in shown
    shown.encode()


def test_what_is_printable_stays() -> None:
    assert printable("ünïcode ☕ [/x] <b>") == "ünïcode ☕ [/x] <b>"


def test_escapes_say_what_was_there() -> None:
    assert printable("a\nb\x1b\u202e\ud800") == "a\\nb\\x1b\\u202e\\ud800"
    assert printable("a\nb\r", lines=True) == "a\nb\\r"


def test_what_is_too_long_is_cut() -> None:
    assert printable("x" * 11, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10


def test_other_things_are_shown_as_their_text() -> None:
    assert printable(ValueError("a\nb")) == "a\\nb"
