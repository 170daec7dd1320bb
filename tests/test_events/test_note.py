"""What commits say of whose they are."""

import pytest

from data.errors import ConfigurationError
from events.kafka.connection import Assigned
from events.stream.note import Note
from features.state.online.owner import Owner

TOPIC = b"topic-no-one-id1"
OURS = Note.of(TOPIC, Owner("ours", "/srv/a home"))


@pytest.mark.parametrize("owner", [None, Owner("id", ""), Owner("id", "/srv/a home"), Owner("id", "/\udcff/ü 🛒")])
def test_a_note_is_read_as_it_was_written(owner: Owner | None) -> None:
    note = Note.of(TOPIC, owner)
    home = note.home.encode(errors="replace").decode()
    assert Note.read(note.text) == (TOPIC.hex(), owner.id if owner else "", home)


@pytest.mark.parametrize(
    "text", ["", "x", TOPIC.hex(), f"{TOPIC.hex()} ours /elsewhere", f"{'0' * 32} theirs /srv/b", " "]
)
def test_ours_nobodys_and_another_topics_are_no_hindrance(text: str) -> None:
    OURS.require_own([Assigned(0, 5, text, 0, 9)])


def test_another_homes_is_refused_by_name() -> None:
    theirs = Note.of(TOPIC, Owner("theirs", "/srv/b " + "x" * 5_000))
    assert len(theirs.text) < 600
    with pytest.raises(ConfigurationError, match=r"for the home /srv/b x.*ENCORE_PROJECT"):
        OURS.require_own([Assigned(0, None, "", 0, 0), Assigned(1, 5, theirs.text, 0, 9)])
    Note.of(TOPIC, None).require_own([Assigned(1, 5, theirs.text, 0, 9)])
