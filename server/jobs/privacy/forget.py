"""`encore forget`: nothing of a person is left, and what comes of them is refused for a while.

    list       what arrives of them is refused from now on; workers that live say so, and hold nothing of before
    look       whose states the events are in, and which models learned from them: kept until the end
    take out   rows of the log and of the predictions, states of every edition; again until nothing is found
    make anew  the states of others (products, say) that the events were in, from the log as it is now
    topics     dead letters of theirs; of other topics, when retention will have dropped what is there

Whoever is killed has changed nothing by half: run again, it finds what is left. A rollout and this exclude each other.
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
from data.log.sources import newest_topic, topic_ids
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
"""For how long what arrives of a person is refused, where nobody says otherwise."""

_PASSES = 5
"""How often what is left is looked for: what a process had in hand when it began is there a second time at most."""

_PATIENCE_S = 60.0
_LOOK_S = 0.1
_REPLICAS_MS = 30_000
_BATCH = 1_000

_READERS = ("materialize", "train", "retrain", "import", "generate")
"""Commands that read events and write what is made of them."""


def forget(
    settings: Settings, person: Person, tell: Tell, *, refused_days: int = REFUSED_DAYS, clock: Clock = wall_clock
) -> Receipt:
    """Remove all that is known of a person, and refuse what arrives of them for so many days; return what was done.

    Raises UnavailableError where something does not answer, ConfigurationError where a command works in the home that
    would bring the person back: what was done until then stays done, and running it again goes on.
    """
    if busy := [one for one in processes_in(settings) if one.removeprefix("encore ").split()[0] in _READERS]:
        raise ConfigurationError(
            f"{', '.join(busy)} reads the events that are to go; wait for its end. Nothing was done"
        )
    with ExitStack() as stack:
        client: Any = stack.enter_context(connect_redis(settings, timeout_s=60))
        require_own(settings, client)
        stack.enter_context(held(client, settings.project))
        return _Forgetting(settings, person, client, tell, clock).run(refused_days)


class _Forgetting:
    """Forgetting one person of one home."""

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
        self._left: list[str] = []
        self._work = Work()
        self._place = Path()

    def run(self, refused_days: int) -> Receipt:
        now_us = self._clock()
        until_us = now_us + refused_days * DAY_US
        self._replication.begin()
        revision = self._log.suppression.add(self._person, until_us)
        self._place = self._settings.run / "forgetting" / f"{self._log.suppression.digest(self._person)}.json"
        self._work = Work.read(self._place)
        self._await_workers(revision)
        editions = self._editions()
        self._look(editions)
        self._take_out(editions)
        remade = self._make_anew(editions)
        topics = self._topics(now_us)
        self._replication.confirm()
        self._work.write(self._place)
        work, person = self._work, self._person
        self._place.unlink()
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
            left=[*self._left, *self._outputs()],
        )

    def _await_workers(self, revision: int) -> None:
        """Return when every worker that lives refuses the person, and holds nothing that came before."""
        deadline = time.monotonic() + _PATIENCE_S
        while waiting := [one.worker for one in self._heartbeats.all() if one.suppression < revision]:
            self._tell(f"waits for {', '.join(waiting)}")
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{', '.join(waiting)} does not say that it refuses what comes of this person: it stands still, is "
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
        found = [editions.open(standing.live)]
        if standing.other is not None:
            try:
                found.append(editions.open(standing.other))
            except StateError as error:
                self._left.append(f"states of another edition: {error}")
        return found

    def _look(self, editions: Sequence[Opened]) -> None:
        self._tell("looks what there is")
        tables = list(self._log.events_of(self._person))
        entities = [entity for edition in editions for entity in edition.plan.schema.entities]
        self._work.note(touched_by(tables, entities, self._person), models_that_learned(self._settings, tables))
        self._work.write(self._place)

    def _take_out(self, editions: Sequence[Opened]) -> None:
        """Remove what there is, and look again, until a look finds nothing."""
        for _ in range(_PASSES):
            self._tell("takes events out of the log")
            events = self._log.remove(self._person)
            Partials(self._log).delete_stale(grace_s=0.0)
            self._name_files()
            self._work.note_log(events)
            self._work.write(self._place)
            self._tell("deletes states and predictions")
            states: dict[str, int] = {}
            for edition in editions:
                states = _added(states, self._delete_states(edition))
            self._work.note_states(states)
            predictions = self._archive.remove(self._person)
            self._work.predictions += predictions.rows
            self._work.write(self._place)
            self._delete_words()
            if (events, states, predictions) == (Removed(), {}, Removed()):
                break
        else:
            raise UnavailableError(
                "something goes on writing what is kept of this person: look which processes of an earlier version "
                "work with this home, stop them, and run this again"
            )
        self._left += [f"{path}: it could not be read when it was set aside" for path in self._archive.damaged()]

    def _name_files(self) -> None:
        """Have the log's table name its files as they are now: who reads it by what it said before meets an error."""
        try:
            if (name := kept_table(self._settings)) is not None:
                open_table(self._settings, name).sync()
        except BlockingIOError:
            pass  # another process does so
        except EncoreError as error:
            self._left.append(f"the table of the log: {error}; `encore log iceberg` names its files again")

    def _delete_states(self, edition: Opened) -> dict[str, int]:
        states, gone = edition.states, dict[str, int]()
        keys = list(states.naming(*self._person))
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            states.remove(some)
            for key in some:
                gone[key.entity] = gone.get(key.entity, 0) + 1
        joined = {entity.name: entity.join_keys for entity in edition.plan.schema.entities}
        named = [key for key in states.aside.look() if self._person in zip(joined[key.entity], key.ids, strict=True)]
        states.aside.remove(named)
        return gone

    def _delete_words(self) -> None:
        """Delete what Redis holds in words that may name the person: the last audit, what silent workers said."""
        drop_audit(self._client, self._settings.project)
        self._heartbeats.forget_silent(self._person.value)

    def _make_anew(self, editions: Sequence[Opened]) -> dict[str, int]:
        """Make the states anew that the events were in, of the log as it is now and of the topic beyond it."""
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
        """Return the entities of others that have a state in an edition which the events were in."""
        keys = [
            EntityKey(entity.name, tuple(ids))
            for entity in edition.plan.schema.entities
            for ids in self._work.touched.get(",".join(entity.join_keys), ())
        ]
        return [key for key, stored in zip(keys, edition.states.read(keys), strict=True) if stored.state]

    def _beyond(self, edition: Opened, log: EventLog) -> tuple[bytes, Callable[[], Sequence[Sourced]]]:
        """Return the topic that workers fold, and what reads it beyond the log; nothing where Kafka is not there."""
        settings = self._settings
        logged = next(iter(topic_ids([newest_topic(log.sources())])), b"")
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
        """Remove dead letters, and say of each topic when what it holds is gone."""
        self._tell("looks at the topics")
        settings, key = self._settings, self._person.value.encode()
        names, found = settings.kafka_names, list[Traces | None]()
        names_person = re.compile(rb"(?<![\w-])" + re.escape(key) + rb"(?![\w-])").search
        try:
            with TopicTraces(settings.kafka_servers, settings.kafka_access) as traces:
                letters = dead_letter_topic(names.events)
                removed = traces.remove_letters(letters, lambda part: names_person(part) is not None)
                self._work.dead_letters += removed
                found = [
                    traces.of(letters, now_us, key, removed=removed),
                    *(traces.of(topic, now_us, key) for topic in (names.events, names.predictions)),
                ]
        except UnavailableError as error:
            self._left.append(f"topics: {error}")
        return [
            TopicLeft(one.topic, one.removed, one.marked, from_micros(one.gone_us).isoformat() if one.gone_us else "")
            for one in found
            if one is not None
        ]

    def _outputs(self) -> list[str]:
        """Name what processes wrote that holds the value as a word: it goes as it is rotated."""
        word = re.compile(rb"(?<![\w-])" + re.escape(self._person.value.encode()) + rb"(?![\w-])")
        return [
            f"{path}: the output of a process, which goes as it grows (ENCORE_RUN_LOGS)"
            for path in sorted(self._settings.run.glob("*.log*"))
            if word.search(path.read_bytes())
        ]


def _added(left: dict[str, int], right: dict[str, int]) -> dict[str, int]:
    return {name: left.get(name, 0) + right.get(name, 0) for name in left.keys() | right.keys()}
