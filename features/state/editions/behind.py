"""How far an edition of the states is behind the event log, by its marks."""

from data.errors import DataError
from data.log.log import Log
from data.log.sources import newest_topic_id, topic_ids, topic_source
from features.state.editions.editions import Opened

__all__ = ["behind", "ends_of", "lacking"]


def ends_of(log: Log, topic: bytes) -> dict[int, int]:
    """Return, by partition of a topic, the offset after the last one in the log."""
    return {partition: end + 1 for partition, end in log.ends(topic_source(topic)).items()}


def behind(edition: Opened, log: Log, topic: bytes) -> dict[int, range]:
    """Return, by partition of a topic, the offsets in the log that an edition may lack."""
    marked = edition.marks.read(topic)
    ends = ends_of(log, topic)
    return {number: range(marked.get(number, 0), end) for number, end in ends.items() if marked.get(number, 0) < end}


def lacking(edition: Opened, log: Log) -> dict[int, range]:
    """Return, by partition of the newest topic, the offsets in the log that an edition may lack.

    Raises DataError where it may lack some of a topic before that: their fences are gone, so it is to be made again.
    """
    newest = newest_topic_id(log.sources())
    for topic in topic_ids(log.sources()) - {newest}:
        if behind(edition, log, topic):
            raise DataError("event log: the topic was made anew while states were made from the one before")
    return behind(edition, log, newest) if newest else {}
