"""`encore retention`: what is older than the setting says goes, where nothing needs it.

The event log is what states are made of. A file of it goes only where no feature of the definitions that answer looks
so far back: else states that are made anew would have other values than those that were folded.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from data.clock import Clock, wall_clock
from data.errors import EncoreError, UnavailableError
from data.log.removal import Removed
from data.log.retention import Retention
from data.units import DAY_US, HOUR_US, from_micros
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
"""Files are joined, and then have old and new rows: one is written anew once its oldest is an eighth of the time too
old. So nothing stays longer than that, and a row is written anew eight times at most."""


class Applied(NamedTuple):
    """What went, in files and rows (`log`, `predictions`) or by name (`models`), and how large things are now.

    `dead_letters`: whether the topic's own retention was set. `problems`: what the setting asks for and was not done.
    """

    log: Removed
    predictions: Removed
    dead_letters: bool
    models: list[str]
    sizes: Sample
    problems: list[str]


def apply_retention(settings: Settings, *, clock: Clock = wall_clock) -> Applied:
    """Let go what is older than the setting says, and note how large things are. One process of a home does so at once.

    Raises ConfigurationError where another does, UnavailableError where Redis is away; what Kafka does not do is a
    problem.
    """
    kept = Retention.parse(settings.retention)
    with only_one(settings, "retention", "applies retention"), connect_redis(settings, timeout_s=30) as client:
        require_own(settings, client)
        problems: list[str] = []
        models: list[str] = []
        log, predictions, letters = Removed(), Removed(), False
        now_us = clock()
        if kept.log_us is not None:
            if refused := refusal_of_log(kept.log_us, _plans(settings, client)):
                problems.append(refused)
            else:
                log = open_log(settings).drop_before(now_us - kept.log_us, kept.log_us // _SLACK)
        if kept.predictions_us is not None:
            length = timedelta(microseconds=kept.predictions_us)
            predictions = open_archive(settings).drop_before(from_micros(now_us) - length, length / _SLACK)
        if kept.dead_letters_us is not None:
            try:
                letters = _keep_letters(settings, kept.dead_letters_us)
            except UnavailableError as error:
                problems.append(f"dead letters: {error}")
        if kept.models_us is not None:
            try:
                models = _let_models_go(settings, from_micros(now_us - kept.models_us))
            except EncoreError as error:
                problems.append(f"models: {error}")
        sizes = measure(settings, client)
        note(settings, sizes)
    return Applied(log, predictions, letters, models, sizes, problems)


def refusal_of_log(kept_us: int, plans: list[Plan]) -> str:
    """Return why the log may not be cut to its last `kept_us` under these plans; empty where it may."""
    for plan in plans:
        reach_us, by = reach_of_all(plan)
        if reach_us is None:
            return (
                f"the log is kept whole: {by}, so states that are made anew need every event. Take log out of "
                "ENCORE_RETENTION, or such features out of the definitions"
            )
        # A day for events that come late, and for clocks.
        if kept_us < reach_us + DAY_US:
            return (
                f"the log is kept whole: ENCORE_RETENTION keeps {_words(kept_us)} of it, and {by} looks "
                f"{_words(reach_us)} back; keep a day more than that"
            )
    return ""


def _plans(settings: Settings, client: Any) -> list[Plan]:
    """Return the plans of all editions of the states."""
    editions = editions_of(client, settings)
    standing = editions.read()
    if standing is None or not standing.live.plan:
        return [open_live(client, settings).plan]
    return [editions.plan(one) for one in (standing.live, standing.other) if one is not None and one.plan]


def _let_models_go(settings: Settings, before: datetime) -> list[str]:
    lifecycle = open_lifecycle(settings)
    return lifecycle.let_go(before) if lifecycle.tracking.exists() else []


def _keep_letters(settings: Settings, kept_us: int) -> bool:
    topic, topics = (
        dead_letter_topic(settings.kafka_names.events),
        TopicRetention(settings.kafka_servers, settings.kafka_access),
    )
    return bool(topics.partitions(topic)) and topics.write(topic, kept_us)


def _words(length_us: int) -> str:
    return f"{length_us // DAY_US} days" if length_us >= DAY_US else f"{length_us // HOUR_US} hours"
