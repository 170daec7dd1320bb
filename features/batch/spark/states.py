"""States folded from the whole log on Spark, and written from its executors: the driver has counts of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from data.filesystem.storage import Storage
from data.log.event_log import EventLog
from data.schema import Schema
from features.batch.backfill import Backfilled, state_rows
from features.batch.materializer import MaterializeCounts, materialize
from features.plan.plan import EntityPlan
from features.state.online.access import RedisAccess
from features.state.online.states import OnlineStates
from features.state.states import States

__all__ = ["PACKED", "WRITTEN", "OpenStates", "Pack", "Write"]

WRITTEN = "written long, ahead long"
"""The columns that `Write` returns, of which a task returns a row."""

PACKED = "state binary, last_event_us long"
"""The columns that `Pack` returns beside the join keys."""

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class OpenStates:
    """Opens states in Redis, of a project or of an edition's space, wherever it is called."""

    access: RedisAccess
    space: str
    schema: Schema

    def __call__(self) -> OnlineStates:
        """Return them, over a client of their own."""
        return OnlineStates(self.access.connect(timeout_s=_PATIENCE_S), self.space, self.schema)


class _OfStates:
    """A function for Spark's `mapInArrow`, from rows of `entity_states` of one kind of entity; `topic` is as there."""

    def __init__(self, plan: EntityPlan, topic: str) -> None:
        self.plan = plan
        self._topic = topic

    def states(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Backfilled]:
        return state_rows(batches, self.plan, self._topic)


class Write(_OfStates):
    """Writes states beside a running stream, as `materialize` does; `open_states` opens them on an executor.

    What is written twice, since an executor was lost, is equal.
    """

    def __init__(self, plan: EntityPlan, topic: str, storage: Storage, open_states: Callable[[], States]) -> None:
        super().__init__(plan, topic)
        self._storage = storage
        self._open_states = open_states

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield the counts of what was written."""
        log = EventLog(self._storage, self.plan.schema)
        counts = materialize(self._open_states(), self.states(batches), self.plan, log)
        yield pa.RecordBatch.from_pydict({name: pa.array([count]) for name, count in counts._asdict().items()})

    @staticmethod
    def total(rows: Iterable[Any]) -> MaterializeCounts:
        """Return the counts of all tasks together."""
        counts = [MaterializeCounts(*row) for row in rows]
        return MaterializeCounts(sum(count.written for count in counts), sum(count.ahead for count in counts))


class Pack(_OfStates):
    """Packs states as Feast carries them, with the entity's keys."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield keys, packed states and the times of last events."""
        keys = self.plan.join_keys
        for batch in batches:
            made = list(self.states([batch]))
            columns = {
                key: pa.array([state.key.ids[place] for state in made], pa.string()) for place, key in enumerate(keys)
            }
            columns["state"] = pa.array([state.pack() for state in made], pa.binary())
            columns["last_event_us"] = pa.array([state.last_event_us for state in made], pa.int64())
            yield pa.RecordBatch.from_pydict(columns)
