"""The mixture of served questions, asked at their trigger or some time after it, and examples in that mixture."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.batch.engine import Engine, key_list, no_nulls, sql_texts
from features.batch.queries import FACTS
from model.examples.spine import NEAREST
from model.targets import Target

__all__ = ["MIN_SERVED", "kept_in_mixture", "served_later"]

MIN_SERVED = 500
"""Fewest served questions from which a mixture is measured."""

_LEAST, _MOST = 0.1, 0.9
"""Bounds of a share, so that a model learns from both kinds of questions, whatever is asked at present."""

_SERVED = """
    WITH marks AS (
        SELECT {keys}, time_us, max(trigger_us) AS trigger_us, sum(question) AS questions
        FROM (
            SELECT {keys}, time_us, time_us AS trigger_us, 0 AS question FROM {facts}
            WHERE event_type IN ({trigger}) AND {known}
            UNION ALL
            SELECT {keys}, time_us, CAST(NULL AS BIGINT) AS trigger_us, 1 AS question FROM questions
        ) AS marked
        GROUP BY {keys}, time_us
    ),
    placed AS (
        SELECT questions, time_us - max(trigger_us) OVER (
            PARTITION BY {keys} ORDER BY time_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS since_us
        FROM marks
    )
    SELECT CAST(sum(CASE WHEN since_us IS NOT NULL THEN questions END) AS BIGINT) AS known,
           CAST(sum(CASE WHEN since_us >= {earliest} THEN questions END) AS BIGINT) AS later
    FROM placed
"""


def served_later(engine: Engine, target: Target, questions: pa.Table) -> float | None:
    """Return the share of served questions that were asked some time after their trigger, like `later` examples.

    `questions` have the keys and labels that the log's schema asks for, and `as_of`. None if fewer than `MIN_SERVED`
    have a trigger before them, or the target is not `asked_later`. Raises `DataError` if the log is unreadable.
    """
    if not target.asked_later or questions.num_rows < MIN_SERVED:
        return None
    keys = engine.log.schema.entity(target.entity).join_keys
    query = _SERVED.format(
        facts=FACTS,
        keys=key_list(keys),
        known=no_nulls(keys),
        trigger=sql_texts(target.trigger),
        earliest=round(NEAREST * target.horizon_us),
    )
    timed = questions.select(keys).append_column("time_us", pc.cast(questions["as_of"], pa.int64()))
    [counts] = engine.query(query, questions=timed).to_pylist()
    after_trigger, later = counts["known"] or 0, counts["later"] or 0
    return later / after_trigger if after_trigger >= MIN_SERVED else None


def kept_in_mixture(later: NDArray[np.bool_], share: float, *, seed: int) -> NDArray[np.bool_]:
    """Return a mask of examples of which a share was asked later: it has all of one kind, and some of the other.

    The share is clipped to bounds; if one kind of examples is missing, all are kept.
    """
    share = min(max(share, _LEAST), _MOST)
    sizes = np.array([np.sum(~later), np.sum(later)], np.float64)
    if not sizes.all():
        return np.ones(len(later), np.bool_)
    shares = np.array([1 - share, share])
    rates = shares * (sizes / shares).min() / sizes
    return np.asarray(np.random.default_rng(seed).random(len(later)) < rates[later.astype(np.int64)])
