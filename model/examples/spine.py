"""The spine of a training set: the times at which a target's question is asked, and its labels.

A question is asked at each trigger. Callers, though, ask at any time, when the trigger lies hours or weeks back. So
each trigger gives a second example at a later time drawn for it, unless an event that triggers or answers the same
question happened in between (landmarking: van Houwelingen, 2007). The `later` examples teach a model the effect of
time; the two kinds are evaluated apart. A target may do without: `Target.asked_later`.

    trigger ────────── later ──────────────────▶        later - trigger: log-uniform, 1/100 to 2 horizons
       └── horizon ──────┼──┤
                         └── horizon ──────┤
"""

from collections.abc import Iterable

import duckdb
import pandas as pd

from data.errors import DataError, TrainingError
from data.log.event_log import EventLog
from data.schema import Schema
from data.units import DAY_US
from features.batch.engine import MEMORY, DuckDBEngine, key_list
from model.targets import SESSION_IDLE_US, Target

__all__ = ["CANDIDATES", "NEAREST", "answers_query", "build_spine"]

CANDIDATES = "candidates"
"""The attribute of a spine that holds the number of examples before sampling."""

NEAREST, _SPREAD = 0.01, 200.0
"""A later moment lies between 0.01 and 0.01 * 200 horizons after its trigger."""

# An event at the very end of a horizon counts, so a horizon is complete when the newest event lies at its end or later.
# Simultaneous triggers of a pair ask one question: their amounts are summed, and rounded to the decimals that an amount
# has, so that the order of addition does not matter. Where the answer does not depend on the product, those of a user
# ask one question, about one of the products. Half of the later questions have no measures, as callers may.
_SPINE = """
    WITH events AS NOT MATERIALIZED (
        SELECT event_type, {columns}, {segment} AS segment, epoch_us("timestamp") AS time_us FROM {log}
    ),
    newest AS (SELECT max(time_us) AS time_us FROM events),
    triggers AS (
        SELECT {asked}, time_us{sums}, min(segment) AS segment, hash({asked}, time_us, $seed + 1) AS dice
        FROM events
        WHERE list_contains($trigger, event_type) AND time_us <= (SELECT time_us FROM newest) - $horizon
        GROUP BY {asked}, time_us
        {one_a_moment}
    ),
    moments AS (SELECT {asked}, time_us FROM events
                WHERE list_contains($trigger, event_type) OR event_type = $label),
    waited AS (
        SELECT * REPLACE (
                   time_us + 1 + ($horizon * {nearest} * pow({spread}, dice % 1000003 / 1000003))::BIGINT AS time_us
               ), time_us AS since_us
        FROM triggers WHERE $asked_later
    ),
    later AS (
        SELECT waited.* EXCLUDE (since_us)
        FROM waited ASOF LEFT JOIN moments ON {same_moment} AND waited.since_us < moments.time_us
        WHERE (moments.time_us IS NULL OR moments.time_us > waited.time_us)
        AND waited.time_us <= (SELECT time_us FROM newest) - $horizon
    ),
    questions AS (
        SELECT * EXCLUDE (dice), false AS later FROM triggers
        UNION ALL
        SELECT * EXCLUDE (dice){halved}, true AS later FROM later
    ),
    asked AS (
        SELECT * FROM questions WHERE time_us >= coalesce($start, time_us) AND time_us < coalesce($end, time_us + 1)
    ),
    {answers},
    sample AS (
        SELECT *, count(*) OVER () AS candidates
        FROM examples
        ORDER BY hash({asked}, time_us, $seed), {asked}, time_us
        LIMIT $max_rows
    )
    SELECT * REPLACE (if($positive, label, NOT label)::INTEGER AS label)
    FROM sample
    ORDER BY time_us, {asked}
"""

_ONE_A_MOMENT = "QUALIFY row_number() OVER (PARTITION BY {keys}, time_us ORDER BY dice, {asked}) = 1"

_FOLLOWS = """
    answers AS (SELECT {keys}, time_us FROM events WHERE event_type = $label),
    examples AS (
        SELECT asked.*, coalesce(answers.time_us - asked.time_us <= $horizon, false) AS label
        FROM asked ASOF LEFT JOIN answers ON {same_answer} AND asked.time_us < answers.time_us
    )
"""

# Sessions are numbered per user; a question belongs to the last one that began before it, and asks about the next.
_IN_NEXT_SESSION = """
    begun AS (
        SELECT DISTINCT {whose}, time_us, coalesce(time_us - lag(time_us) OVER (
            PARTITION BY {whose} ORDER BY time_us) > {idle}, true)::INTEGER AS begins
        FROM (SELECT DISTINCT {whose}, time_us FROM events)
    ),
    sessions AS (
        SELECT {whose}, time_us, sum(begins) OVER (PARTITION BY {whose} ORDER BY time_us) AS session FROM begun
    ),
    answers AS (
        SELECT {keys}, session, min(time_us) AS time_us
        FROM events JOIN sessions USING ({whose}, time_us) WHERE event_type = $label GROUP BY {keys}, session
    ),
    placed AS (
        SELECT asked.*, sessions.session + 1 AS next
        FROM asked ASOF JOIN sessions ON asked.{whose} = sessions.{whose} AND asked.time_us >= sessions.time_us
    ),
    examples AS (
        SELECT asked.* EXCLUDE (next), coalesce(answers.time_us - asked.time_us <= $horizon, false) AS label
        FROM placed AS asked LEFT JOIN answers ON {same_answer} AND asked.next = answers.session
    )
"""


def answers_query(target: Target, schema: Schema) -> str:
    """Return SQL (common table expressions) that makes `examples`, questions with a `label`, of `asked` and `events`.

    `asked` has the schema's `asked_keys` and `time_us`; `events` those and `event_type`. $label and $horizon are the
    target's; the label says whether that event follows within the horizon.
    """
    keys = schema.entity(target.entity).join_keys
    query = _IN_NEXT_SESSION if target.rule == "follows_in_next_session" else _FOLLOWS
    return query.format(
        keys=key_list(keys),
        same_answer=_same("asked", "answers", keys),
        whose=f'"{schema.ordered_by}"',
        idle=SESSION_IDLE_US,
    )


def build_spine(
    log: EventLog,
    target: Target,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
    max_rows: int = 100_000,
    seed: int = 0,
    memory: str = MEMORY,
) -> pd.DataFrame:
    """Return the target's examples in the log, in time order; above `max_rows`, a sample that depends on `seed` alone.

    Columns: the keys and labels that the log's schema asks for, `event_timestamp` (datetime64[us, UTC]), a float
    `request_...` for each measure that it asks for, `segment` (the first label: text or null), `later` (bool: asked
    some time after a trigger), `label` (0 or 1); keys and time together are unique.
    Questions before `start_us` or from `end_us` on are left out. `attrs["candidates"]` is the number of examples before
    sampling. The events themselves stay in DuckDB, which may use so much `memory`.

    Raises `TrainingError` when no example's horizon lies within the log, `DataError` when the log is empty or cannot be
    read.
    """
    schema = log.schema
    keys, asked = schema.entity(target.entity).join_keys, schema.asked_keys
    measures = {measure.name: measure.in_request for measure in schema.asked_measures}
    sums = [f', round(sum("{m.name}"), {m.decimals}) AS {m.in_request}' for m in schema.asked_measures]
    halved = ", ".join(f"if(dice // 1000003 % 2 = 0, {name}, NULL) AS {name}" for name in measures.values())
    parts = {
        "columns": key_list([*asked, *(name for name in (*keys, schema.ordered_by) if name not in asked), *measures]),
        "segment": key_list(schema.labels[:1]) or "NULL::VARCHAR",
        "asked": key_list(asked),
        "sums": "".join(sums),
        "halved": f" REPLACE ({halved})" if halved else "",
        "same_moment": _same("waited", "moments", keys),
        "one_a_moment": _ONE_A_MOMENT.format(keys=key_list(keys), asked=key_list(asked))
        if set(keys) < set(asked)
        else "",
        "nearest": NEAREST,
        "spread": _SPREAD,
    }
    parameters = {
        "trigger": list(target.trigger),
        "label": target.label,
        "asked_later": target.asked_later,
        "positive": target.rule != "does_not_follow",
        "horizon": target.horizon_us,
        "start": start_us,
        "end": end_us,
        "seed": seed,
        "max_rows": max_rows,
    }
    try:
        with DuckDBEngine(log, memory=memory) as engine:
            query = _SPINE.format(log=engine.scan(), answers=answers_query(target, schema), **parts)
            found = engine.connection.raw_sql(query, parameters=parameters).df()
    except duckdb.Error as error:
        raise DataError(f"event log {log}: examples of {target.name} cannot be read: {error}") from error
    if found.empty:
        days = target.horizon_us / DAY_US
        triggers = " or ".join(target.trigger)
        dates = " between the dates given" if start_us is not None or end_us is not None else ""
        raise TrainingError(
            f"{target.name}: event log {log} has no {triggers} followed by {days:g} days of events{dates}; "
            "wait for more data, import a longer history, or ask about a shorter horizon"
        )
    spine: pd.DataFrame = found[list(asked)].copy()
    spine["event_timestamp"] = found["time_us"].astype("datetime64[us]").dt.tz_localize("UTC")
    for name in measures.values():
        spine[name] = found[name].astype("float64")
    spine["segment"] = found["segment"]
    spine["later"] = found["later"].astype("bool")
    spine["label"] = found["label"].astype("int64")
    spine.attrs[CANDIDATES] = int(found["candidates"].iloc[0])
    return spine


def _same(left: str, right: str, keys: Iterable[str]) -> str:
    return " AND ".join(f'{left}."{key}" = {right}."{key}"' for key in keys)
