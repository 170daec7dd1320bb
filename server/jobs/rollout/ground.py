"""The preconditions and resources for building states, checked before anything is changed."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import redis

from data.errors import UnavailableError
from features.partials.partials import Partials
from features.plan.plan import EntityPlan, Plan
from features.state.editions.editions import Opened
from features.state.editions.standing import Edition
from features.state.online.answers import ask
from server.event_log import open_log
from server.process.collector import settle_collector
from server.redis.capacity import capacity_of
from server.redis.connections import connect_redis, heartbeats_of, replication_of
from server.redis.editions import editions_of, states_of
from server.redis.ownership import claim_project
from server.settings import Settings

if TYPE_CHECKING:
    from features.batch.edition import Source
    from features.batch.materializer import MaterializeCounts
    from features.batch.spark.engine import SparkEngine

__all__ = ["Ground", "Tell"]

Tell = Callable[[str], None]
"""Shows the user a line."""

_REPLICAS_MS = 30_000
"""Time limit for replicas to have all states: up to a million are written at once."""

_LEAST_BYTES = 300
"""Redis memory of the smallest state with its key, bytes."""

_SAMPLE = 50
"""Number of states of each entity whose memory is measured."""


class Ground:
    """Log, Redis and replicas of a home, whose project owns the states, or claims them.

    Raises, with no change, DataError if the log has a hole or is unreadable, ConfigurationError if the states are
    another home's, UnavailableError if Redis is away or does not let this user write.
    """

    def __init__(self, settings: Settings, tell: Tell) -> None:
        from features.batch.engine import check_log  # noqa: PLC0415 - it imports DuckDB

        self.client: Any = connect_redis(settings, timeout_s=60)
        ask(self.client.ping)  # fails early, before seconds of work
        tell("checking the event log")
        self.log = open_log(settings)
        with suppress(OSError):  # a read-only log
            for source in self.log.sources():  # merges small files first, since each file is opened many times
                self.log.compact(source)
        self._partials = Partials(self.log)
        self._has_partials = self._partials.are_used()
        if not self._has_partials:  # with partials, only events outside of them are read, and checked then
            check_log(self.log)
        self.settings = claim_project(settings, tell)
        self.editions = editions_of(self.client, self.settings)
        self.heartbeats = heartbeats_of(self.client, self.settings)
        # Tries every command that states need, on unused keys.
        self.editions.states(Edition(), self.settings.declared.schema).try_all()
        self.replication = replication_of(self.client, self.settings, least_ms=_REPLICAS_MS)
        self.replication.begin()
        settle_collector()

    def source(self, plan: Plan) -> AbstractContextManager["Source"]:
        """Return the source of states from the log as of its entering: from partials, if the log has any."""
        from features.batch.engine import DuckDBEngine  # noqa: PLC0415 - it imports DuckDB
        from features.partials.making import make_partials  # noqa: PLC0415 - as before
        from features.partials.merging import Merged  # noqa: PLC0415 - as before

        memory = self.settings.duckdb_memory
        if not self._has_partials:
            return DuckDBEngine(self.log, memory=memory)
        make_partials(self._partials, plan)
        return Merged(self._partials, plan, memory=memory)

    def entities(self, plan: Plan) -> dict[str, int]:
        """Return the number of entities of each kind in the log."""
        if self._spark is not None:
            return self._spark.entities()
        with self.source(plan) as source:
            return source.entities()

    def writing(self, opened: Opened) -> "Callable[[EntityPlan], MaterializeCounts] | None":
        """Return the function that folds and writes an edition's states on Spark; None to do so in this process."""
        if self._spark is None:
            return None
        from features.batch.spark.states import OpenStates  # noqa: PLC0415 - it imports Ibis

        states = OpenStates(self.settings.redis_access, opened.states.project, opened.plan.schema)
        return partial(self._spark.write_states, open_states=states)

    def close(self) -> None:
        """Stop Spark if this object started it."""
        if "_spark" in self.__dict__ and self._spark is not None:
            self._spark.close()

    @cached_property
    def _spark(self) -> "SparkEngine | None":
        """The Spark engine, started on first use; None if the settings name another batch engine."""
        if self.settings.batch != "spark":
            return None
        from features.batch.spark.engine import SparkEngine  # noqa: PLC0415 - an extra

        return SparkEngine(self.log, master=self.settings.spark_master)

    def require_memory(self, counts: Mapping[str, int], *, beside: bool) -> None:
        """Raise UnavailableError if Redis lacks the memory for states of so many entities.

        With `beside`, they are a second edition beside the live states; otherwise they extend the live ones.
        """
        if self.settings.redis_cluster:
            return  # each node has its own bound
        capacity = capacity_of(self.client)
        if capacity is None or not capacity.bound:
            return
        states = states_of(self.client, self.settings)
        present = {} if beside else states.counts()
        # A new entity has no states yet whose size could be measured.
        bytes_each = {entity: self._bytes_of(states.redis_keys(entity)) for entity in states.entities} if beside else {}
        needed = sum(
            bytes_each.get(entity, _LEAST_BYTES) * max(0, count - present.get(entity, 0))
            for entity, count in counts.items()
        )
        if needed > capacity.free:
            what = "beside those that answer " if beside else ""
            raise UnavailableError(
                f"Redis: {sum(counts.values()):,} states {what}need {needed / 2**20:,.0f} MB more, and "
                f"{capacity.free / 2**20:,.0f} MB are free of its {capacity.bound_by} ({capacity.bound / 2**20:,.0f} "
                "MB); give it more. Nothing was changed"
            )

    def _bytes_of(self, keys: Iterable[bytes]) -> int:
        """Return the mean memory of a state, bytes, from a sample of keys."""
        sampled = [key for key, _ in zip(keys, range(_SAMPLE), strict=False)]
        try:
            sizes = [int(self.client.memory_usage(key) or 0) for key in sampled]
        except (redis.ResponseError, KeyError):
            sizes = []
        return max([_LEAST_BYTES, sum(sizes) // max(1, len(sizes))])
