"""Outcomes: a target's labels for questions at any time, read from the event log."""

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from data.errors import DataError
from data.log.event_log import EventLog
from features.batch.engine import MEMORY, DuckDBEngine, key_list
from model.examples.spine import answers_query
from model.targets import Target

__all__ = ["outcomes"]

# Equal questions (same pair, same time) are answered once and joined to all of them.
_OUTCOMES = """
    WITH events AS NOT MATERIALIZED (
        SELECT event_type, {columns}, epoch_us("timestamp") AS time_us FROM {log}
    ),
    asked AS (SELECT DISTINCT {asked}, epoch_us(as_of) AS time_us FROM questions),
    {answers},
    newest AS (SELECT max(time_us) AS time_us FROM events)
    SELECT place,
           CASE WHEN epoch_us(as_of) + $horizon > (SELECT time_us FROM newest) THEN NULL
                ELSE (label = $positive)::INTEGER END AS outcome
    FROM questions JOIN examples ON {same} AND epoch_us(questions.as_of) = examples.time_us
    ORDER BY place
"""


def outcomes(log: EventLog, target: Target, questions: pa.Table, *, memory: str = MEMORY) -> NDArray[np.float64]:
    """Return the labels of questions, shape [n]: 0, 1, or NaN if unknown.

    Their columns are the keys and labels that the log's schema asks for, and `as_of`.

    A label is known once the log holds an event at or after the end of its horizon. Raises `DataError` when the log
    cannot be read.
    """
    found = np.full(questions.num_rows, np.nan)
    if not questions.num_rows or not log.files():
        return found
    schema = log.schema
    names = schema.asked_keys
    asked = questions.select([*names, "as_of"]).append_column("place", pa.array(np.arange(questions.num_rows)))
    parameters = {"label": target.label, "positive": target.rule != "does_not_follow", "horizon": target.horizon_us}
    try:
        with DuckDBEngine(log, memory=memory) as engine:
            connection = engine.connection.con
            connection.register("questions", asked)
            query = _OUTCOMES.format(
                log=engine.scan(),
                columns=key_list(dict.fromkeys([*names, *schema.entity(target.entity).join_keys, schema.ordered_by])),
                asked=key_list(names),
                same=" AND ".join(f'questions."{name}" IS NOT DISTINCT FROM examples."{name}"' for name in names),
                answers=answers_query(target, schema),
            )
            known = connection.execute(query, parameters).fetchnumpy()
    except duckdb.Error as error:
        raise DataError(f"event log {log}: answers of {target.name} cannot be read: {error}") from error
    values = known["outcome"]
    found[known["place"]] = np.where(np.ma.getmaskarray(values), np.nan, np.ma.filled(values, 0))
    return found
