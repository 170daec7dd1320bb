"""The alerts of deploy/prometheus/alerts.yml that the console can judge by itself: tiles turn red by the same limits.

A test compares names, limits and actions with that file. Prometheus waits before it notifies; a tile turns red at once.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from server.console.formats import duration, number, percent

__all__ = ["ALERTS", "Alert", "firing"]

Readings = Mapping[str, float]


class Alert(NamedTuple):
    """An alert: the value that it watches, its limit, how the value is written, a title, and what to do.

    `value` returns None if nothing is known. With `below` it fires below the limit, else above it.
    """

    name: str
    value: Callable[[Readings], float | None]
    limit: float
    written: Callable[[float], str]
    title: str
    action: str
    below: bool = False

    def fires(self, readings: Readings) -> bool:
        """Return whether the limit is passed now."""
        value = self.value(readings)
        return value is not None and (value < self.limit if self.below else value > self.limit)

    @property
    def runbook(self) -> str:
        """The section of the documents that says what to do."""
        return f"docs/operations.md#{self.name.lower()}"


def firing(readings: Readings) -> list[Alert]:
    """Return the alerts whose limit is passed now."""
    return [alert for alert in ALERTS if alert.fires(readings)]


def _reading(name: str) -> Callable[[Readings], float | None]:
    return lambda readings: readings.get(name)


def _share(part: str, total: str) -> Callable[[Readings], float | None]:
    return lambda readings: readings[part] / readings[total] if readings.get(total) and part in readings else None


def _greatest(prefix: str) -> Callable[[Readings], float | None]:
    return lambda readings: max((value for name, value in readings.items() if name.startswith(prefix)), default=None)


ALERTS = (
    Alert(
        *("EncoreApiDown", _reading("api_up"), 1, number, "The API answers"),
        "Look at its log, and at GET /health/live.",
        below=True,
    ),
    Alert(
        *("EncoreRedisDown", _reading("redis_up"), 1, number, "The API reaches Redis"),
        "Look at Redis, then at REDIS_HOST and REDIS_PASSWORD.",
        below=True,
    ),
    Alert(
        *("EncoreStreamUnwell", _reading("problems"), 0, number, "Things that are wrong with stream and store"),
        "`encore status` says what, in words.",
    ),
    Alert(
        *("EncoreFeaturesOld", _reading("newest_event_age_seconds"), 900, duration, "Age of the newest event"),
        "Look whether the shop sends events, and whether workers lag (`encore status`).",
    ),
    Alert(
        *("EncoreLag", _reading("lag"), 1000, number, "Messages that wait for a worker"),
        "Start more workers, up to the number of partitions.",
    ),
    Alert(
        *("EncoreFreshness", _reading("freshness_p99_seconds"), 60, duration, "Freshness, 99 of 100 events"),
        "Compare lag and late events; events that come late are their sender's.",
    ),
    Alert(
        *("EncoreDeadLetters", _reading("dead_letter_share"), 0.01, percent, "Share of messages that are no events"),
        "Read the newest of the dead-letter topic; each says why.",
    ),
    Alert(
        *("EncoreMessagesLost", _reading("messages_lost"), 0, number, "Messages that Kafka deleted unread"),
        "Send them again where you can, and give the topic a longer retention.",
    ),
    Alert(
        *("EncoreStatesSetAside", _reading("states_set_aside"), 0, number, "Damaged states that wait to be made anew"),
        "Look at the log of the stream workers.",
    ),
    Alert(
        *("EncoreAuditDiffers", _reading("differing_values"), 0, number, "Values on which batch and stream disagree"),
        "Run `encore verify`, which names them.",
    ),
    Alert(
        "EncoreRedisMemory",
        _share("redis_memory_bytes", "redis_memory_bound_bytes"),
        *(0.85, percent, "Share of Redis' memory that is used"),
        "Give it more before it refuses writes.",
    ),
    Alert(
        "EncoreDisk",
        _share("home_free_bytes", "home_size_bytes"),
        *(0.1, percent, "Share of the home's disk that is free"),
        "Give it more, or keep less.",
        below=True,
    ),
    Alert(
        *("EncoreLogHole", _reading("log_hole_offsets"), 0, number, "Offsets that the event log lacks"),
        "`encore log check` names them, and says what to do.",
    ),
    Alert(
        *("EncoreRolloutStuck", _reading("rollout_interrupted"), 0, number, "A rollout that nobody is at"),
        "`encore rollout status` says where it is.",
    ),
    Alert(
        *("EncoreDrift", _greatest("drifted."), 0, number, "Features of a target that have moved since training"),
        "`encore retrain --if-needed`, after a look at which they are.",
    ),
)
"""In the order of alerts.yml."""
