"""The spine of a training set: the questions of a target, with the times at which they are asked, and their labels.

A question is asked at each trigger. Callers, however, ask at any time, hours or weeks after the trigger. So each
trigger gives a second example at a randomly drawn later time, unless an event that triggers or answers the same
question happened in between (landmarking: van Houwelingen, 2007). The `later` examples teach a model the effect of
time; the two kinds are evaluated separately. `Target.asked_later` turns them off.

    trigger ────────── later ──────────────────▶        later - trigger: log-uniform, 1/100 to 2 horizons
       └── horizon ──────┼──┤
                         └── horizon ──────┤
"""

from collections.abc import Iterable

import pandas as pd

from data.errors import TrainingError
from data.schema import Schema
from data.units import DAY_US
from features.batch.engine import Engine, key_list, no_nulls, sql_texts
from features.batch.queries import FACTS
from model.targets import SESSION_IDLE_US, Target

__all__ = ["CANDIDATES", "NEAREST", "answers_query", "build_spine"]

CANDIDATES = "candidates"
"""The attribute of a spine that holds the number of examples before sampling."""

NEAREST, _SPREAD = 0.01, 200
"""A later question is asked between 0.01 and 0.01 * 200 horizons after its trigger."""

# The SQL is restricted to what DuckDB and Spark have in common: draws use MD5, since neither has the other's hash, and
# values before or after a time are window functions, since one engine has no ASOF JOIN.
#
# An event at the very end of a horizon counts, so a horizon is complete if the newest event is at its end or later.
# Simultaneous triggers of a pair ask one question, with the sum of their amounts. If the answer does not depend on the
# product, those of a user ask one question, about one of the products. Half of the later questions have no measures,
# since callers may omit them.
_SPINE = """
    WITH events AS (
        SELECT event_type, {columns}, {segment} AS segment, time_us FROM {facts}
    ),
    newest AS (SELECT max(time_us) AS newest_us FROM events),
    triggers AS (
        SELECT {asked}, time_us{sums}, min(segment) AS segment, {dice} AS dice
        FROM events CROSS JOIN newest
        WHERE event_type IN ({trigger}) AND time_us <= newest_us - {horizon} AND {known}
        GROUP BY {asked}, time_us
        {one_a_moment}
    ),
    {later}
    questions AS (
        SELECT {asked}, time_us{measures}, segment, false AS later FROM triggers
        {and_later}
    ),
    asked AS (SELECT * FROM questions WHERE {within}),
    {answers},
    sample AS (
        SELECT *, (SELECT count(*) FROM examples) AS candidates
        FROM examples
        ORDER BY {draw}, {asked}, time_us
        LIMIT {max_rows}
    )
    SELECT {asked}, time_us{measures}, segment, later, {label_is}label AS label, candidates FROM sample
"""

_ONE_A_MOMENT = "QUALIFY row_number() OVER (PARTITION BY {keys}, time_us ORDER BY dice, {asked}) = 1"

_LATER = """
    moments AS (
        SELECT {keys}, time_us, lead(time_us) OVER (PARTITION BY {keys} ORDER BY time_us) AS next_us
        FROM (SELECT DISTINCT {keys}, time_us FROM events WHERE event_type IN ({trigger}, {label}) AND {known})
    ),
    waited AS (
        SELECT triggers.*, moments.next_us, triggers.time_us + 1 + CAST(floor(
                   {nearest} * round(pow({spread}, CAST({number} AS DOUBLE) / 1048576), 6)
               ) AS BIGINT) AS later_us
        FROM triggers JOIN moments ON {same_moment} AND triggers.time_us = moments.time_us
    ),
"""

_AND_LATER = """
        UNION ALL
        SELECT {asked}, later_us AS time_us{halved}, segment, true AS later
        FROM waited CROSS JOIN newest
        WHERE coalesce(next_us > later_us, true) AND later_us <= newest_us - {horizon}
"""

_FOLLOWS = """
    marks AS (
        SELECT {keys}, time_us, max(answer_us) AS answer_us
        FROM (
            SELECT {keys}, time_us, CAST(NULL AS BIGINT) AS answer_us FROM asked
            UNION ALL
            SELECT {keys}, time_us, time_us AS answer_us FROM events WHERE event_type = {label}
        ) AS marked
        GROUP BY {keys}, time_us
    ),
    answers AS (
        SELECT {keys}, time_us, min(answer_us) OVER (
            PARTITION BY {keys} ORDER BY time_us DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS answer_us
        FROM marks
    ),
    examples AS (
        SELECT asked.*, coalesce(answers.answer_us - asked.time_us <= {horizon}, false) AS label
        FROM asked LEFT JOIN answers ON {same_answer} AND asked.time_us = answers.time_us
    )
"""

# Sessions are numbered per user. A question belongs to the last session that began before it, and asks about the next.
_IN_NEXT_SESSION = """
    marks AS (
        SELECT {whose}, time_us, max(event_us) AS event_us
        FROM (
            SELECT {whose}, time_us, time_us AS event_us FROM events
            UNION ALL
            SELECT {whose}, time_us, CAST(NULL AS BIGINT) AS event_us FROM asked
        ) AS marked
        GROUP BY {whose}, time_us
    ),
    begun AS (
        SELECT {whose}, time_us, event_us, max(event_us) OVER (
            PARTITION BY {whose} ORDER BY time_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before_us
        FROM marks
    ),
    sessions AS (
        SELECT {whose}, time_us, CAST(sum(
            CASE WHEN event_us IS NOT NULL AND coalesce(event_us - before_us > {idle}, true) THEN 1 ELSE 0 END
        ) OVER (PARTITION BY {whose} ORDER BY time_us ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS BIGINT)
            AS session
        FROM begun
    ),
    answers AS (
        SELECT {of_events}, session, min(events.time_us) AS answer_us
        FROM events JOIN sessions ON events.{whose} = sessions.{whose} AND events.time_us = sessions.time_us
        WHERE event_type = {label}
        GROUP BY {of_events}, session
    ),
    placed AS (
        SELECT asked.*, sessions.session
        FROM asked JOIN sessions ON asked.{whose} = sessions.{whose} AND asked.time_us = sessions.time_us
        WHERE sessions.session > 0
    ),
    examples AS (
        SELECT asked.*, coalesce(answers.answer_us - asked.time_us <= {horizon}, false) AS label
        FROM placed AS asked LEFT JOIN answers ON {same_answer} AND asked.session + 1 = answers.session
    )
"""


def answers_query(target: Target, schema: Schema) -> str:
    """Return SQL (common table expressions) that derives `examples` from `asked` and `events`.

    `asked` has the schema's `asked_keys` and `time_us`, without duplicates; `events` has these columns and
    `event_type`; `examples` are the questions with a `label`: whether the target's event follows within its horizon.
    """
    keys = schema.entity(target.entity).join_keys
    query = _IN_NEXT_SESSION if target.rule == "follows_in_next_session" else _FOLLOWS
    return query.format(
        keys=key_list(keys),
        of_events=", ".join(f'events."{key}"' for key in keys),
        same_answer=_same("asked", "answers", keys),
        whose=f'"{schema.ordered_by}"',
        idle=SESSION_IDLE_US,
        label=sql_texts([target.label]),
        horizon=target.horizon_us,
    )


def build_spine(
    engine: Engine,
    target: Target,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    max_rows: int = 100_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the target's examples in the engine's log, in time order; more than `max_rows` are sampled by `seed`.

    Columns: the keys and labels that the log's schema asks for, `event_timestamp` (datetime64[us, UTC]), a float
    `request_...` for each measure that it asks for, `segment` (the first label: text or null), `later` (bool: asked
    some time after a trigger), `label` (0 or 1); keys and time together are unique.
    Questions before `start_us` or from `end_us` on are left out. `attrs["candidates"]` is the number of examples before
    sampling. The events themselves stay in the engine; all engines draw the same sample.

    Raises `TrainingError` if no example's horizon lies within the log, `DataError` if the log is empty or unreadable.
    """
    schema = engine.log.schema
    within = [f"time_us >= {start_us}"] * (start_us is not None) + [f"time_us < {end_us}"] * (end_us is not None)
    query = _spine_sql(schema, target, " AND ".join(within) or "TRUE", max_rows, seed)
    examples = engine.query(query)
    rows = examples.sort_by([(name, "ascending") for name in ("time_us", *schema.asked_keys)]).to_pandas()
    if rows.empty:
        days = target.horizon_us / DAY_US
        triggers = " or ".join(target.trigger)
        dates = " between the dates given" if start_us is not None or end_us is not None else ""
        raise TrainingError(
            f"{target.name}: event log {engine.log} has no {triggers} followed by {days:g} days of events{dates}; "
            "wait for more data, import a longer history, or ask about a shorter horizon"
        )
    spine: pd.DataFrame = rows[list(schema.asked_keys)].copy()
    spine["event_timestamp"] = rows["time_us"].astype("datetime64[us]").dt.tz_localize("UTC")
    for measure in schema.asked_measures:
        spine[measure.in_request] = rows[measure.in_request].astype("float64")
    spine["segment"] = rows["segment"]
    spine["later"] = rows["later"].astype("bool")
    spine["label"] = rows["label"].astype("int64")
    spine.attrs[CANDIDATES] = int(rows["candidates"].iloc[0])
    return spine


def _spine_sql(schema: Schema, target: Target, within: str, max_rows: int, seed: int) -> str:
    keys, asked = schema.entity(target.entity).join_keys, schema.asked_keys
    measures = {measure.in_request: measure for measure in schema.asked_measures}
    columns = [*asked, *(name for name in (*keys, schema.ordered_by) if name not in asked)]
    halved = f"CASE WHEN {_number('dice', 5, 1)} % 2 = 0 THEN {{name}} END AS {{name}}"
    parts = {
        "facts": FACTS,
        "columns": key_list([*columns, *(measure.name for measure in measures.values())]),
        "segment": key_list(schema.labels[:1]) or "CAST(NULL AS VARCHAR)",
        "asked": key_list(asked),
        "keys": key_list(keys),
        "known": no_nulls(keys),
        "sums": "".join(
            f', CAST(sum("{measure.name}") AS DOUBLE) / {measure.unit} AS {name}' for name, measure in measures.items()
        ),
        "measures": "".join(f", {name}" for name in measures),
        "halved": "".join(", " + halved.format(name=name) for name in measures),
        "trigger": sql_texts(target.trigger),
        "label": sql_texts([target.label]),
        "horizon": target.horizon_us,
        "dice": _draw(asked, seed + 1),
        "draw": _draw(asked, seed),
        "number": _number("dice", 0, 5),
        "same_moment": _same("triggers", "moments", keys),
        "nearest": round(NEAREST * target.horizon_us),
        "spread": _SPREAD,
        "within": within,
        "max_rows": max_rows,
        "label_is": "NOT " if target.rule == "does_not_follow" else "",
    }
    return _SPINE.format(
        **parts,
        one_a_moment=_ONE_A_MOMENT.format(**parts) if set(keys) < set(asked) else "",
        later=_LATER.format(**parts) if target.asked_later else "",
        and_later=_AND_LATER.format(**parts) if target.asked_later else "",
        answers=answers_query(target, schema),
    )


def _draw(asked: Iterable[str], seed: int) -> str:
    """Return SQL for 32 hexadecimal digits that depend on a question and a seed."""
    return f"md5(concat_ws('|', {key_list(asked)}, CAST(time_us AS VARCHAR), '{seed}'))"


def _number(digits: str, first: int, count: int) -> str:
    """Return SQL for the number given by `count` hexadecimal digits of a text, the lowest digit first."""
    places = range(first, first + count)
    return " + ".join(
        f"(strpos('0123456789abcdef', substr({digits}, {place + 1}, 1)) - 1) * {16 ** (place - first)}"
        for place in places
    )


def _same(left: str, right: str, keys: Iterable[str]) -> str:
    return " AND ".join(f'{left}."{key}" = {right}."{key}"' for key in keys)
