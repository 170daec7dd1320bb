"""Where a worker begins in a partition: nothing that Kafka dropped is skipped in silence.

offsets      0         10        20        30
Kafka                       |first ----- end|
"""

import pytest

from data.errors import UnavailableError
from events.kafka.consumer import Assigned
from events.stream.start import Start, start_of

NOTHING = range(0)


@pytest.mark.parametrize(
    ("committed", "first", "logged", "expected"),
    [
        (None, 0, None, Start(0, NOTHING, NOTHING)),  # nothing was ever done
        (12, 0, 11, Start(12, NOTHING, NOTHING)),  # the common case
        (20, 20, 19, Start(20, NOTHING, NOTHING)),  # just in time
        (12, 20, 11, Start(20, NOTHING, range(12, 20))),  # Kafka dropped what nobody had read
        (12, 20, 15, Start(20, range(12, 16), range(16, 20))),  # some of it was logged, and not committed
        (12, 20, 25, Start(20, range(12, 20), NOTHING)),  # all of it was
        (12, 20, None, Start(20, NOTHING, range(12, 20))),  # the log is gone as well
        (None, 20, None, Start(20, NOTHING, NOTHING)),  # an old topic that Encore has never read
        (None, 20, 11, Start(20, NOTHING, range(12, 20))),  # the group was forgotten, the log tells
        (None, 20, 25, Start(20, NOTHING, NOTHING)),
    ],
)
def test_where_to_begin(committed: int | None, first: int, logged: int | None, expected: Start) -> None:
    assert start_of(Assigned(0, committed, "id", first, 30), "id", logged) == expected


def test_what_was_committed_of_another_topic_of_that_name_does_not_count() -> None:
    assert start_of(Assigned(0, 12, "old", 0, 5), "new", None) == Start(0, NOTHING, NOTHING)


def test_a_broker_without_notes_is_taken_at_its_word() -> None:
    assert start_of(Assigned(0, 12, "", 0, 30), "id", 11) == Start(12, NOTHING, NOTHING)
    assert start_of(Assigned(0, 12, "", 0, 9), "id", 11) == Start(12, NOTHING, NOTHING)


def test_messages_that_kafka_itself_lost_are_named() -> None:
    with pytest.raises(UnavailableError, match=r"partition 3 ends at offset 9, but was read up to 12.*make the topic"):
        start_of(Assigned(3, 12, "id", 0, 9), "id", 11)
