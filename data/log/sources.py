"""Names of the event log's sources: a Kafka topic by its id, a history by how it was made."""

import re

__all__ = [
    "SOURCE_NAME",
    "check_history",
    "check_source",
    "is_topic",
    "newest_topic",
    "newest_topic_id",
    "topic_ids",
    "topic_source",
]

SOURCE_NAME = r"[A-Za-z0-9_.-]+"
"""What a source may be called: its name is part of a folder's."""

_TOPIC = "kafka-"


def check_source(name: str) -> None:
    """Raise ValueError where a source may not be called so."""
    if not re.fullmatch(SOURCE_NAME, name):
        raise ValueError(f"a source of the event log is called {name!r}: use letters, digits, '_', '.' and '-'")


def check_history(name: str) -> None:
    """Raise ValueError where a history may not be called so: it is no source's name, or a topic's."""
    check_source(name)
    if name.startswith(_TOPIC):
        raise ValueError(f"a history is called {name!r}: names that begin with {_TOPIC!r} are of topics")


def is_topic(source: str) -> bool:
    """Return whether a source is a topic rather than a history."""
    return source.startswith(_TOPIC)


def newest_topic(sources: list[str]) -> str:
    """Return the newest source that is a topic; empty where there is none."""
    return next((source for source in reversed(sources) if is_topic(source)), "")


def newest_topic_id(sources: list[str]) -> bytes:
    """Return the id of the newest source that is a topic; empty where there is none."""
    return next(iter(topic_ids([newest_topic(sources)])), b"")


def topic_ids(sources: list[str]) -> frozenset[bytes]:
    """Return the ids (16 bytes) of the sources that are topics."""
    return frozenset(bytes.fromhex(source.removeprefix(_TOPIC)) for source in sources if is_topic(source))


def topic_source(topic_id: bytes) -> str:
    """Return the name of a topic's source, by the topic's id."""
    return _TOPIC + topic_id.hex()
