"""`encore forget`: deletes all data of a person, and refuses their new data for a while.

    list      refuse the person's new data from now on; wait until live workers confirm, with no older data buffered
    look      find the states that contain the events, and the models that learned from them; kept until the end
    take out  delete rows of the log and the predictions, and states of every edition, until nothing is found
    rebuild   recompute the states of others (such as products) that contained the events, from the remaining log
    topics    delete dead letters; for other topics, compute when retention will have dropped the messages

After a crash, running it again completes the work. It and a rollout exclude each other.
"""

import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, EncoreError, StateError, UnavailableError
from data.log.event_log import EventLog
from data.log.person import Person
from data.log.removal import Removed
from data.log.sources import newest_topic_id
from data.units import DAY_US, from_micros
from events.kafka.connection import Topic
from events.kafka.consumer import Consumer, ConsumerOptions, read_offsets
from events.kafka.topics import await_broker, dead_letter_topic
from events.kafka.traces import TopicTraces, Traces
from events.stream.repairer import Beyond
from features.partials.partials import Partials
from features.state.editions.editions import Opened
from features.state.fold import Sourced
from features.state.states import EntityKey
from server.event_log import open_log
from server.jobs.audit import drop_audit
from server.jobs.privacy.known import models_that_learned, touched_by
from server.jobs.privacy.receipt import Receipt, TopicLeft, Work
from server.jobs.rollout.lease import held
from server.log_table import kept_table, open_table
from server.process.home import processes_in
from server.redis.connections import connect_redis, heartbeats_of, replication_of
from server.redis.editions import editions_of, open_live
from server.redis.ownership import require_own
from server.scoring.kept_predictions import open_archive
from server.settings import Settings

__all__ = ["REFUSED_DAYS", "forget"]

Tell = Callable[[str], None]

REFUSED_DAYS = 30
"""Default number of days for which new data of a forgotten person is refused."""

_PASSES = 5
"""The most passes of deletion: data that a process had buffered at the start appears at most once more."""

_PATIENCE_S = 60.0
_LOOK_S = 0.1
_REPLICAS_MS = 30_000
_BATCH = 1_000

_READERS = ("materialize", "train", "retrain", "import", "generate")
"""Commands that read events and write results derived from them."""


def forget(
    settings: Settings, person: Person, tell: Tell, *, refused_days: int = REFUSED_DAYS, clock: Clock = wall_clock
) -> Receipt:
    """Delete all data of a person, and refuse their new data for `refused_days`; return what was done.

    Raises UnavailableError if a service does not answer, ConfigurationError if a running command of the home would
    restore the data. What was done until then stays done, and running it again continues.
    """
    if busy := [
        command for command in processes_in(settings) if command.removeprefix("encore ").split()[0] in _READERS
    ]:
        raise ConfigurationError(
            f"{', '.join(busy)} reads the events that are to go; wait for its end. Nothing was done"
        )
    with ExitStack() as stack:
        client: Any = stack.enter_context(connect_redis(settings, timeout_s=60))
        require_own(settings, client)
        stack.enter_context(held(client, settings.project))
        return _Forgetting(settings, person, client, tell, clock).run(refused_days)


class _Forgetting:
    """Deletes one person's data from one home."""

    def __init__(self, settings: Settings, person: Person, client: Any, tell: Tell, clock: Clock) -> None:
        self._settings = settings
        self._person = person
        self._client = client
        self._tell = tell
        self._clock = clock
        self._log = open_log(settings)
        self._archive = open_archive(settings)
        self._heartbeats = heartbeats_of(client, settings)
        self._replication = replication_of(client, settings, least_ms=_REPLICAS_MS)
        self._remaining: list[str] = []
        self._work = Work()
        self._work_file = Path()

    def run(self, refused_days: int) -> Receipt:
        now_us = self._clock()
        until_us = now_us + refused_days * DAY_US
        self._replication.begin()
        revision = self._log.suppression.add(self._person, until_us)
        self._work_file = self._settings.run / "forgetting" / f"{self._log.suppression.digest(self._person)}.json"
        self._work = Work.read(self._work_file)
        self._await_workers(revision)
        editions = self._editions()
        self._look(editions)
        self._take_out(editions)
        remade = self._rebuild_others(editions)
        topics = self._topics(now_us)
        self._replication.confirm()
        self._work.write(self._work_file)
        work, person = self._work, self._person
        self._work_file.unlink()
        return Receipt(
            person={person.key: person.value},
            at=from_micros(now_us).isoformat(),
            refused_until=from_micros(until_us).isoformat(),
            known=work.known,
            events=work.events,
            log_files=work.log_files,
            states=work.states,
            remade=remade,
            predictions=work.predictions,
            dead_letters=work.dead_letters,
            models=work.models,
            topics=topics,
            left=[*self._remaining, *self._outputs()],
        )

    def _await_workers(self, revision: int) -> None:
        """Wait until every live worker refuses the person, and has none of their earlier events buffered."""
        deadline = time.monotonic() + _PATIENCE_S
        while silent := [worker.worker for worker in self._heartbeats.all() if worker.suppression < revision]:
            self._tell(f"waits for {', '.join(silent)}")
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{', '.join(silent)} does not say that it refuses what comes of this person: it stands still, is "
                    "of an earlier version, or has another log; look at it, or stop it, and run this again. What was "
                    "kept of the person is still there"
                )
            time.sleep(_LOOK_S)

    def _editions(self) -> list[Opened]:
        """Return the editions of the states, the live one first."""
        editions = editions_of(self._client, self._settings)
        standing = editions.read()
        if standing is None or not standing.live.plan:
            return [open_live(self._client, self._settings)]
        opened = [editions.open(standing.live)]
        if standing.other is not None:
            try:
                opened.append(editions.open(standing.other))
            except StateError as error:
                self._remaining.append(f"states of another edition: {error}")
        return opened

    def _look(self, editions: Sequence[Opened]) -> None:
        self._tell("looks what there is")
        tables = list(self._log.events_of(self._person))
        entities = [entity for edition in editions for entity in edition.plan.schema.entities]
        self._work.note(touched_by(tables, entities, self._person), models_that_learned(self._settings, tables))
        self._work.write(self._work_file)

    def _take_out(self, editions: Sequence[Opened]) -> None:
        """Delete rows and states repeatedly, until a pass finds nothing."""
        for _ in range(_PASSES):
            self._tell("takes events out of the log")
            events = self._log.remove(self._person)
            Partials(self._log).delete_stale(grace_s=0.0)
            self._update_table()
            self._work.note_log(events)
            self._work.write(self._work_file)
            self._tell("deletes states and predictions")
            states: dict[str, int] = {}
            for edition in editions:
                states = _added(states, self._delete_states(edition))
            self._work.note_states(states)
            predictions = self._archive.remove(self._person)
            self._work.predictions += predictions.rows
            self._work.write(self._work_file)
            self._delete_texts()
            if (events, states, predictions) == (Removed(), {}, Removed()):
                break
        else:
            raise UnavailableError(
                "something goes on writing what is kept of this person: look which processes of an earlier version "
                "work with this home, stop them, and run this again"
            )
        self._remaining += [f"{path}: it could not be read when it was set aside" for path in self._archive.damaged()]

    def _update_table(self) -> None:
        """Update the log's table to the present files, since reading it by deleted files fails."""
        try:
            if (name := kept_table(self._settings)) is not None:
                open_table(self._settings, name).sync()
        except BlockingIOError:
            pass  # another process does so
        except EncoreError as error:
            self._remaining.append(f"the table of the log: {error}; `encore log iceberg` names its files again")

    def _delete_states(self, edition: Opened) -> dict[str, int]:
        states, deleted = edition.states, dict[str, int]()
        keys = list(states.naming(*self._person))
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            states.remove(batch)
            for key in batch:
                deleted[key.entity] = deleted.get(key.entity, 0) + 1
        joined = {entity.name: entity.join_keys for entity in edition.plan.schema.entities}
        set_aside = [
            key for key in states.aside.look() if self._person in zip(joined[key.entity], key.ids, strict=True)
        ]
        states.aside.remove(set_aside)
        return deleted

    def _delete_texts(self) -> None:
        """Delete texts in Redis that may name the person: the last audit, and the status of silent workers."""
        drop_audit(self._client, self._settings.project)
        self._heartbeats.forget_silent(self._person.value)

    def _rebuild_others(self, editions: Sequence[Opened]) -> dict[str, int]:
        """Rebuild the states of others that contained the events, from the remaining log and the topic beyond it."""
        from features.batch.repair import remake  # noqa: PLC0415 - it imports DuckDB

        done: dict[str, int] = {}
        for edition in editions:
            keys = self._touched(edition)
            if not keys:
                continue
            self._tell(f"makes {len(keys):,} states anew that the events were in")
            log = EventLog(self._log.storage, edition.plan.schema)
            topic, newer = self._beyond(edition, log)
            remake(
                edition.plan,
                edition.states,
                log,
                topic,
                keys=keys,
                newer=newer,
                memory=self._settings.duckdb_memory,
            )
            for key in keys if edition is editions[0] else ():
                done[key.entity] = done.get(key.entity, 0) + 1
        return done

    def _touched(self, edition: Opened) -> list[EntityKey]:
        """Return the other entities whose state in an edition contained the events."""
        keys = [
            EntityKey(entity.name, tuple(ids))
            for entity in edition.plan.schema.entities
            for ids in self._work.touched.get(",".join(entity.join_keys), ())
        ]
        return [key for key, stored in zip(keys, edition.states.read(keys), strict=True) if stored.state]

    def _beyond(self, edition: Opened, log: EventLog) -> tuple[bytes, Callable[[], Sequence[Sourced]]]:
        """Return the id of the workers' topic, and a reader of its events beyond the log (none without Kafka)."""
        settings = self._settings
        logged = newest_topic_id(log.sources())
        try:
            server = await_broker(settings.kafka_servers, timeout_s=2.0)
            options = ConsumerOptions(
                servers=server,
                topic=settings.kafka_names.events,
                group=settings.kafka_names.group,
                access=settings.kafka_access,
            )
            consumer = Consumer(options)
            try:
                topic: Topic = consumer.topic()
            finally:
                consumer.close()
        except UnavailableError:
            return logged, list
        return topic.id, Beyond(log, edition.plan.schema, topic, partial(read_offsets, options))

    def _topics(self, now_us: int) -> list[TopicLeft]:
        """Delete dead letters, and return for each topic when its messages of the person are gone."""
        self._tell("looks at the topics")
        settings, key = self._settings, self._person.value.encode()
        names, topics = settings.kafka_names, list[Traces | None]()
        names_person = re.compile(rb"(?<![\w-])" + re.escape(key) + rb"(?![\w-])").search
        try:
            with TopicTraces(settings.kafka_servers, settings.kafka_access) as traces:
                letters = dead_letter_topic(names.events)
                removed = traces.remove_letters(letters, lambda part: names_person(part) is not None)
                self._work.dead_letters += removed
                topics = [
                    traces.of(letters, now_us, key, removed=removed),
                    *(traces.of(topic, now_us, key) for topic in (names.events, names.predictions)),
                ]
        except UnavailableError as error:
            self._remaining.append(f"topics: {error}")
        return [
            TopicLeft(
                topic.topic,
                topic.removed,
                topic.marked,
                from_micros(topic.gone_us).isoformat() if topic.gone_us else "",
            )
            for topic in topics
            if topic is not None
        ]

    def _outputs(self) -> list[str]:
        """Return the output files of processes that contain the value as a word; they are deleted by rotation."""
        word = re.compile(rb"(?<![\w-])" + re.escape(self._person.value.encode()) + rb"(?![\w-])")
        return [
            f"{path}: the output of a process, which goes as it grows (ENCORE_RUN_LOGS)"
            for path in sorted(self._settings.run.glob("*.log*"))
            if word.search(path.read_bytes())
        ]


def _added(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in left.keys() | right.keys()}
