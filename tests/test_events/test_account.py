"""What a worker says of itself is small, whatever it met: it is told every second."""

import msgspec
import pytest

from data.event import Rejection
from events.kafka.connection import Message
from events.stream.account import Account
from events.stream.heartbeat import Membership


@pytest.mark.long
def test_a_heartbeat_is_small_whatever_the_letters_were() -> None:
    account = Account(0)
    for number in range(100):
        key = b"\xff" * 900_000
        message = Message("events", 0, number, key, b"")
        account.note_letter(message, Rejection("wrong_key", f"key {key!r} is not the user_id"))
    told = msgspec.json.encode(account.status("w", Membership(), 1, {}))
    assert len(told) < 2_000
    assert b"0:99 wrong_key: key b" in told
