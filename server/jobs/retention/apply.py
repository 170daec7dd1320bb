"""`encore retention`: deletes data older than the setting says, unless something needs it.

States are rebuilt from the event log, so a file of it is deleted only if no feature of the live definitions reaches so
far back: otherwise rebuilt states would differ from the streamed ones.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from data.clock import Clock, wall_clock
from data.errors import EncoreError, UnavailableError
from data.log.removal import Removed
from data.log.retention import Retention
from data.units import DAY_US, from_micros, span
from events.kafka.topic_retention import TopicRetention
from events.kafka.topics import dead_letter_topic
from features.plan.plan import Plan
from features.plan.reach import reach_of_all
from server.event_log import open_log
from server.jobs.modelling import open_lifecycle
from server.jobs.retention.sizes import Sample, measure, note
from server.process.home import only_one
from server.redis.connections import connect_redis
from server.redis.editions import editions_of, open_live
from server.redis.ownership import require_own
from server.scoring.kept_predictions import open_archive
from server.settings import Settings

__all__ = ["Applied", "apply_retention", "refusal_of_log"]

_SLACK = 8
"""A merged file has old and new rows. It is rewritten once its oldest row exceeds the retention time by an eighth of
it. So no row stays longer than that, and a row is rewritten at most eight times."""


class Applied(NamedTuple):
    """What was deleted, in files and rows (`log`, `predictions`) or by name (`models`), and the sizes afterwards.

    `dead_letters`: whether the topic's own retention was set. `problems`: parts of the setting that were not applied.
    """

    log: Removed
    predictions: Removed
    dead_letters: bool
    models: list[str]
    sizes: Sample
    problems: list[str]


def apply_retention(settings: Settings, *, clock: Clock = wall_clock) -> Applied:
    """Delete data older than the setting says, and record the sizes. Only one process of a home may do so at a time.

    Raises ConfigurationError if another process does so, UnavailableError without Redis; a failure of Kafka is reported
    as a problem.
    """
    retention = Retention.parse(settings.retention)
    with only_one(settings, "retention", "applies retention"), connect_redis(settings, timeout_s=30) as client:
        require_own(settings, client)
        problems: list[str] = []
        models: list[str] = []
        log, predictions, letters_set = Removed(), Removed(), False
        now_us = clock()
        if retention.log_us is not None:
            if refusal := refusal_of_log(retention.log_us, _plans(settings, client)):
                problems.append(refusal)
            else:
                log = open_log(settings).drop_before(now_us - retention.log_us, retention.log_us // _SLACK)
        if retention.predictions_us is not None:
            length = timedelta(microseconds=retention.predictions_us)
            predictions = open_archive(settings).drop_before(from_micros(now_us) - length, length / _SLACK)
        if retention.dead_letters_us is not None:
            try:
                letters_set = _set_letter_retention(settings, retention.dead_letters_us)
            except UnavailableError as error:
                problems.append(f"dead letters: {error}")
        if retention.models_us is not None:
            try:
                models = _delete_models(settings, from_micros(now_us - retention.models_us))
            except EncoreError as error:
                problems.append(f"models: {error}")
        sizes = measure(settings, client)
        note(settings, sizes)
    return Applied(log, predictions, letters_set, models, sizes, problems)


def refusal_of_log(kept_us: int, plans: list[Plan]) -> str:
    """Return why the log may not be cut to its last `kept_us` under these plans; empty where it may."""
    for plan in plans:
        reach_us, by = reach_of_all(plan)
        if reach_us is None:
            return (
                f"the log is kept whole: {by}, so states that are made anew need every event. Take log out of "
                "ENCORE_RETENTION, or such features out of the definitions"
            )
        # A day of slack for late events and for clocks.
        if kept_us < reach_us + DAY_US:
            return (
                f"the log is kept whole: ENCORE_RETENTION keeps {span(kept_us)} of it, and {by} looks "
                f"{span(reach_us)} back; keep a day more than that"
            )
    return ""


def _plans(settings: Settings, client: Any) -> list[Plan]:
    """Return the plans of all editions of the states."""
    editions = editions_of(client, settings)
    standing = editions.read()
    if standing is None or not standing.live.plan:
        return [open_live(client, settings).plan]
    return [
        editions.plan(edition) for edition in (standing.live, standing.other) if edition is not None and edition.plan
    ]


def _delete_models(settings: Settings, before: datetime) -> list[str]:
    lifecycle = open_lifecycle(settings)
    return lifecycle.let_go(before) if lifecycle.tracking.exists() else []


def _set_letter_retention(settings: Settings, kept_us: int) -> bool:
    topic, topics = (
        dead_letter_topic(settings.kafka_names.events),
        TopicRetention(settings.kafka_servers, settings.kafka_access),
    )
    return bool(topics.partitions(topic)) and topics.write(topic, kept_us)
