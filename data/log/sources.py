"""How the event log names its sources: a Kafka topic by its id, a history by what made it."""

__all__ = ["newest_topic", "topic_ids", "topic_source"]

_TOPIC = "kafka-"


def newest_topic(sources: list[str]) -> str:
    """The source that is the newest topic; empty where none is a topic."""
    return next((source for source in reversed(sources) if source.startswith(_TOPIC)), "")


def topic_ids(sources: list[str]) -> frozenset[bytes]:
    """Ids of the sources that are topics."""
    return frozenset(bytes.fromhex(s.removeprefix(_TOPIC)) for s in sources if s.startswith(_TOPIC))


def topic_source(topic_id: bytes) -> str:
    """The source that a topic is in the log."""
    return _TOPIC + topic_id.hex()
