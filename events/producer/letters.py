"""Finds which of the messages that were just sent became dead letters."""

import threading
from collections import defaultdict
from typing import NamedTuple

from data.errors import EncoreError
from events.kafka.access import Access
from events.kafka.deadline import Deadline
from events.kafka.inspector import Inspector
from events.kafka.topics import dead_letter_topic

__all__ = ["Letters", "SentOffsets", "read_letters"]

_MOST = 1_000
"""How many of the newest letters of a partition are examined."""

_PAUSE_S = 0.2


class SentOffsets:
    """Where messages lie that the broker has acknowledged, as runs of offsets by partition."""

    def __init__(self) -> None:
        self._runs: dict[int, list[list[int]]] = defaultdict(list)

    def note(self, partition: int, offset: int) -> None:
        """Note a message; those of a partition come in the order of their offsets."""
        runs = self._runs[partition]
        if runs and runs[-1][1] == offset:
            runs[-1][1] += 1
        else:
            runs.append([offset, offset + 1])

    def __contains__(self, place: tuple[int, int]) -> bool:
        partition, offset = place
        return any(first <= offset < end for first, end in self._runs.get(partition, ()))


class Letters(NamedTuple):
    """How many of the sent messages are dead letters by now; where one of them was, and why it was rejected."""

    number: int = 0
    because: str = ""


def read_letters(
    servers: str,
    topic: str,
    access: Access,
    sent: SentOffsets,
    *,
    expected: int,
    patience_s: float,
    stop: threading.Event,
) -> Letters:
    """Return which of the sent messages are dead letters, looking until there are as many as expected.

    It looks once where none is expected, and for `patience_s` at most: a worker may be late, or none may run.
    """
    deadline = Deadline(patience_s)
    inspector = Inspector(servers, access=access)
    reasons: dict[tuple[int, int], str] = {}
    try:
        while True:
            for message in inspector.newest(dead_letter_topic(topic), _MOST):
                headers = {name: value.decode(errors="replace") for name, value in message.headers or ()}
                place = int(headers.get("partition", -1)), int(headers.get("offset", -1))
                if headers.get("topic") == topic and place in sent:  # letters come at least once
                    reasons[place] = f"{headers.get('kind')}: {headers.get('reason')}"
            if len(reasons) >= min(expected, _MOST) or deadline.expired or stop.wait(_PAUSE_S):
                break
    except EncoreError:  # the messages are sent all the same; their letters can be read later
        pass
    finally:
        inspector.close()
    if not reasons:
        return Letters()
    partition, offset = min(reasons)
    return Letters(len(reasons), f"partition {partition}, offset {offset}: {reasons[partition, offset]}")
