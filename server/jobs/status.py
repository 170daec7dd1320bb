"""The system's status: Kafka, workers, states, dead letters, model and API, as far as they answer."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import redis
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from data.addresses import Address, http_url
from data.clock import wall_clock
from data.errors import EncoreError, LogHoleError
from events.kafka.inspector import Inspector
from events.kafka.topics import await_broker, dead_letter_topic
from events.stream.heartbeat import WorkerStatus
from features.state.states import EntityKey
from server.event_log import open_log
from server.jobs.audit import Audit, last_audit
from server.jobs.retention.sizes import Growing, growth, memory_problem, samples
from server.redis.connections import connect_redis
from server.redis.editions import editions_of
from server.redis.ownership import require_own
from server.redis.watch import Watch
from server.settings import Settings

__all__ = ["Observer", "Status"]

_ROLLOUT: dict[str, str] = {
    "building": "a rollout makes states of other definitions; `encore rollout status` shows how far it is",
    "following": "a rollout is about to switch; `encore rollout status` shows how far it is",
    "switched": "a rollout has switched, and keeps the states before; `encore rollout finish` deletes them",
    "dropping": "the states before a rollout are being deleted; `encore rollout finish` does so where that was ended",
}

_LONGEST_ANSWER = 100_000

_NAMED = 3
"""The most states set aside that are listed by name."""


class Status(msgspec.Struct, frozen=True):
    """One observation. Times are UTC microseconds; None and empty mean no answer, which `problems` explains.

    `produced` is the number of messages in the events topic so far, `dead_letters` that of its dead-letter topic;
    `kept` are the last recorded sizes of the stored data, and their growth. `log` is the place of the event log.
    """

    at_us: int
    home: str
    urls: dict[str, str]
    produced: int | None
    dead_letters: int | None
    workers: list[WorkerStatus]
    lag: int | None
    newest_event_us: int | None
    logged_files: int
    api: dict[str, Any] | None
    audit: Audit | None
    problems: list[str]
    kept: list[Growing] = []
    log: str = ""

    @property
    def folded(self) -> int:
        """Number of events folded by the live workers since they started."""
        return sum(worker.folded for worker in self.workers)

    @property
    def repeats(self) -> int:
        """Number of repeated events that the live workers have received since they started."""
        return sum(worker.repeats for worker in self.workers)

    @property
    def suppressed(self) -> int:
        """Number of messages of forgotten people that the live workers have dropped since they started."""
        return sum(worker.suppressed for worker in self.workers)

    @property
    def rejected(self) -> dict[str, int]:
        """Number of dead letters of the live workers, by kind."""
        kinds: Counter[str] = Counter()
        for worker in self.workers:
            kinds.update(worker.dead_letters)
        return dict(kinds)


class Observer:
    """Observes a system repeatedly over the same connections; must be closed."""

    def __init__(self, settings: Settings, *, kafka_wait_s: float = 1.0, api_wait_s: float = 2.0) -> None:
        self._settings = settings
        self._api_wait_s = api_wait_s
        self._kafka_wait_s = kafka_wait_s
        self._consumer: Any = None
        self._redis = connect_redis(settings)
        self._watch = Watch(self._redis, open_log(settings), settings.project, settings.declared.schema)

    def look(self) -> Status:
        """Return the present status."""
        problems: list[str] = []
        beats, newest, audit = self._states(problems)
        workers = beats or []
        produced, letters = self._kafka(workers, problems)
        api = self._api(problems)
        lag = self._lag(workers)
        if beats is not None and not workers:
            waiting = f", and {lag:,} messages wait" if lag else ""
            problems.append(f"stream: no worker is running{waiting}; start one with `encore stream`")
        settings = self._settings
        return Status(
            at_us=wall_clock(),
            home=str(settings.home),
            urls={
                "API": http_url(settings.api_host, settings.api_port, "/docs"),
                "console": http_url(settings.console_host, settings.console_port),
                "Feast UI": http_url(settings.feast_ui_host, settings.feast_ui_port),
                "Kafka": settings.kafka_servers,
                "Redis": str(Address(settings.redis_host, settings.redis_port)),
            },
            produced=produced,
            dead_letters=letters,
            workers=workers,
            lag=lag,
            newest_event_us=newest,
            logged_files=self._log(problems),
            api=api,
            audit=audit,
            problems=problems,
            kept=self._kept(problems),
            log=str(open_log(settings)),
        )

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        if self._consumer is not None:
            self._consumer.close()

    def _log(self, problems: list[str]) -> int:
        try:
            log = open_log(self._settings)
            if holes := log.holes():
                problems.append(f"{LogHoleError(log, holes)} (`encore log check` shows all)")
            return len(log.listing())
        except (EncoreError, OSError) as error:
            problems.append(f"event log: {error}")
            return 0

    def _kept(self, problems: list[str]) -> list[Growing]:
        """Return the last recorded sizes of the stored data."""
        recorded = samples(self._settings)
        if full := memory_problem(recorded):
            problems.append(f"store: {full}")
        return growth(recorded)

    def _kafka(self, workers: list[WorkerStatus], problems: list[str]) -> tuple[int | None, int | None]:
        try:
            if self._consumer is None:
                server = await_broker(self._settings.kafka_servers, timeout_s=self._kafka_wait_s)
                self._consumer = KafkaConsumer(
                    bootstrap_servers=server, enable_auto_commit=False, **self._settings.kafka_access.for_kafka_python()
                )
            rejected = sum(sum(worker.dead_letters.values()) for worker in workers)
            events = self._settings.kafka_names.events
            return self._length(events), max(self._length(dead_letter_topic(events)), rejected)
        except EncoreError as error:
            problems.append(str(error))
        except (KafkaError, OSError) as error:
            problems.append(f"Kafka: {error}")
        return None, None

    def _lag(self, workers: list[WorkerStatus]) -> int | None:
        """Return the number of waiting messages, as reported by the workers, or the uncommitted if none is active."""
        if workers and not any(worker.waiting for worker in workers):
            return sum(sum(worker.lag.values()) for worker in workers)
        if self._consumer is None:
            return None
        inspector = Inspector(
            self._settings.kafka_servers, wait_s=self._kafka_wait_s, access=self._settings.kafka_access
        )
        names = self._settings.kafka_names
        try:
            return inspector.waiting(names.events, names.group)
        except EncoreError:
            return None
        finally:
            inspector.close()

    def _length(self, topic: str) -> int:
        partitions = [TopicPartition(topic, number) for number in self._consumer.partitions_for_topic(topic) or ()]
        return sum(self._consumer.end_offsets(partitions).values()) if partitions else 0

    def _states(self, problems: list[str]) -> tuple[list[WorkerStatus] | None, int | None, Audit | None]:
        """Return the workers (None if unknown), the time of the newest event and the last audit."""
        workers, newest, audit = None, None, None
        try:
            require_own(self._settings, self._redis)
            look = self._watch.look()
            newest, workers = look.newest_us, list(look.workers)
            problems += look.problems
            if look.aside:
                problems.append(f"store: set aside are {_named(look.aside)}")
            standing = editions_of(self._redis, self._settings).read()
            if standing is not None and standing.stage != "settled":
                problems.append(f"states: {_ROLLOUT[standing.stage]}")
            audit = last_audit(self._redis, self._settings.project)
        except (EncoreError, redis.RedisError, OSError) as error:
            problems.append(str(error))
        return workers, newest, audit

    def _api(self, problems: list[str]) -> dict[str, Any] | None:
        url = http_url(self._settings.api_host, self._settings.api_port, "/health")
        try:
            with urllib.request.urlopen(url, timeout=self._api_wait_s) as answer:  # noqa: S310 - our own address
                health: dict[str, Any] = json.load(answer)
                return health
        except urllib.error.HTTPError as error:
            problems.append(f"API: {url} answers {error.code}: {_reason_of(error.read(_LONGEST_ANSWER))}")
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            why = getattr(reason, "strerror", None) or reason
            problems.append(
                f"API: {url} does not answer ({why}); start it with `encore serve`, or everything with `encore up`"
            )
        return None


def _reason_of(answer: bytes) -> str:
    """Return why an API is not well, in words, from its JSON answer: its health, or a problem."""
    try:
        content = json.loads(answer)
        if not isinstance(content, dict):
            raise ValueError
    except ValueError:
        return " ".join(answer[:200].decode(errors="replace").split())
    parts = [content.get(part) for part in ("redis", "model")]
    errors = [str(part["error"]) for part in parts if isinstance(part, dict) and part.get("error")]
    reasons = [*errors, *map(str, content.get("problems") or ()), str(content.get("detail") or "")]
    return "; ".join(filter(None, reasons)) or str(
        content.get("title") or content.get("status") or "it does not say why"
    )


def _named(keys: Sequence[EntityKey]) -> str:
    """Return some of the entities by name."""
    listed = ", ".join(f"{key.entity} {'/'.join(key.ids)}" for key in sorted(keys, key=str)[:_NAMED])
    return listed + (f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else "")
