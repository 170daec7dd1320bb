"""The mixture of questions that serving sees: at their trigger, or some time after it; and examples in such a one."""

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import DataError
from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine, key_list
from model.examples.spine import NEAREST
from model.targets import Target

__all__ = ["MIN_SERVED", "kept_in_mixture", "served_later"]

MIN_SERVED = 500
"""Fewest served questions whose mixture counts."""

_LEAST, _MOST = 0.1, 0.9
"""Bounds of a share: a model learns from both kinds of questions, whatever is asked now."""

_SERVED = """
    WITH triggers AS (
        SELECT {keys}, epoch_us("timestamp") AS time_us FROM {log} WHERE list_contains($trigger, event_type)
    ),
    asked AS (SELECT {keys}, epoch_us(as_of) AS as_of_us FROM questions)
    SELECT count(*) AS questions, count_if(as_of_us - time_us >= $earliest) AS later
    FROM asked ASOF JOIN triggers ON {same} AND asked.as_of_us >= triggers.time_us
"""


def served_later(log: EventLog, target: Target, questions: pa.Table, *, memory: str = MEMORY) -> float | None:
    """Return the share of served questions that were asked some time after their trigger, as `later` examples are.

    `questions` have the keys and labels that the log's schema asks for, and `as_of`. None where fewer than `MIN_SERVED`
    have a trigger before them, or where the target is not `asked_later`.

    Raises `DataError` where the log is unreadable.
    """
    if not target.asked_later or questions.num_rows < MIN_SERVED:
        return None
    keys = log.schema.entity(target.entity).join_keys
    parameters = {"trigger": list(target.trigger), "earliest": round(NEAREST * target.horizon_us)}
    try:
        with DuckDBEngine(log, memory=memory) as engine:
            connection = engine.connection.con
            connection.register("questions", questions)
            same = " AND ".join(f'asked."{key}" = triggers."{key}"' for key in keys)
            query = _SERVED.format(log=engine.scan(), keys=key_list(keys), same=same)
            [(known, later)] = connection.execute(query, parameters).fetchall()
    except duckdb.Error as error:
        raise DataError(f"event log {log}: triggers of {target.name} cannot be read: {error}") from error
    return later / known if known >= MIN_SERVED else None


def kept_in_mixture(later: NDArray[np.bool_], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Return which examples to learn from, so that a share of them was asked later: all of one kind, some of the other.

    The share is one that lies within bounds; where examples of one kind are missing, all are kept.
    """
    share = min(max(share, _LEAST), _MOST)
    many = np.array([np.sum(~later), np.sum(later)], np.float64)
    if not many.all():
        return np.ones(len(later), np.bool_)
    wanted = np.array([1 - share, share])
    rates = wanted * (many / wanted).min() / many
    return np.asarray(np.random.default_rng(seed).random(len(later)) < rates[later.astype(np.int64)])
