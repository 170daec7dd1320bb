"""A mark in Redis beside the states that says what they were made of; it is lost when they are."""

from typing import Any

import redis

from data.log.sources import topic_ids
from features.plan.plan import Plan
from features.state.online.answers import ask, read_value
from server.event_log import open_log
from server.settings import Settings

__all__ = ["Mark", "made_of"]


class Mark:
    """The mark of one edition of states, by its key prefix. Raises UnavailableError if Redis does not answer."""

    def __init__(self, client: "redis.Redis", space: str) -> None:
        self._client: Any = client
        self._key = f"{space}:materialized"

    def read(self) -> str:
        """Return the mark; empty if there is none."""
        stored = read_value(self._client, self._key)
        return stored.decode(errors="replace") if stored else ""

    def write(self, text: str) -> None:
        """Write the mark."""
        ask(lambda: self._client.set(self._key, text))


def made_of(settings: Settings, plan: Plan) -> str:
    """Return the mark of states of this plan and of every history in the log; topics are left to the stream."""
    sources = open_log(settings).sources()
    histories = [source for source in sources if not topic_ids([source])]
    return "/".join([*(str(entity.layout) for entity in plan.entities), *histories])
