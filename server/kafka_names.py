"""Names of a project's topics, and of its workers' consumer group, in Kafka."""

from typing import NamedTuple

from data.project import PROJECT
from events.kafka.topics import EVENTS_TOPIC
from events.predictions.message import PREDICTIONS_TOPIC

__all__ = ["KafkaNames", "kafka_names_of"]


class KafkaNames(NamedTuple):
    """The names of one project."""

    events: str
    predictions: str
    group: str


def kafka_names_of(project: str) -> KafkaNames:
    """Return a project's names; those of the default project predate projects."""
    if project == PROJECT:
        return KafkaNames(EVENTS_TOPIC, PREDICTIONS_TOPIC, f"{PROJECT}-stream")
    return KafkaNames(f"{project}-events", f"{project}-predictions", f"{project}-stream")
