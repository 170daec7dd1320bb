"""Outcomes: a target's labels for questions at any time, read from the event log."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch.engine import Engine, key_list
from features.batch.queries import FACTS
from model.examples.spine import answers_query
from model.targets import Target

__all__ = ["outcomes"]

# Equal questions (same pair, same time) are answered once, and the answer is joined to all of them.
_OUTCOMES = """
    WITH events AS (SELECT event_type, {columns}, time_us FROM {facts}),
    asked AS (SELECT DISTINCT {asked}, time_us FROM questions),
    {answers},
    newest AS (SELECT max(time_us) AS newest_us FROM events)
    SELECT place, CAST({label_is}label AS INTEGER) AS outcome
    FROM questions JOIN examples ON {same} AND questions.time_us = examples.time_us CROSS JOIN newest
    WHERE questions.time_us + {horizon} <= newest_us
"""


def outcomes(engine: Engine, target: Target, questions: pa.Table) -> NDArray[np.float64]:
    """Return the labels of questions, shape [n]: 0, 1, or NaN if unknown.

    Their columns are the keys and labels that the log's schema asks for, and `as_of`. A label is known once the log
    holds an event at or after the end of its horizon. Raises `DataError` if the log is unreadable.
    """
    labels = np.full(questions.num_rows, np.nan)
    if not questions.num_rows or not engine.log.files():
        return labels
    schema = engine.log.schema
    names = schema.asked_keys
    timed = questions.select(names).append_column("time_us", pc.cast(questions["as_of"], pa.int64()))
    query = _OUTCOMES.format(
        facts=FACTS,
        columns=key_list(dict.fromkeys([*names, *schema.entity(target.entity).join_keys, schema.ordered_by])),
        asked=key_list(names),
        same=" AND ".join(f'questions."{name}" IS NOT DISTINCT FROM examples."{name}"' for name in names),
        answers=answers_query(target, schema),
        label_is="NOT " if target.rule == "does_not_follow" else "",
        horizon=target.horizon_us,
    )
    answers = engine.query(query, questions=timed.append_column("place", pa.array(np.arange(questions.num_rows))))
    labels[answers["place"].to_numpy()] = answers["outcome"].to_numpy()
    return labels
