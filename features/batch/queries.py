"""DuckDB's SQL of values and states over tables called `facts` and `spine`, each compiled once in a process.

Ibis takes a second to compile what DuckDB runs over a small log in a few hundredths.
"""

from functools import lru_cache

import ibis
import ibis.expr.types as ir
import pyarrow as pa

from data.log.event_table import columns_of
from data.schema import Schema
from features.batch.backfill import entity_states
from features.batch.kinds import EXACT
from features.batch.timeline import entity_values
from features.plan.plan import EntityPlan

__all__ = ["FACTS", "LOG", "SPINE", "states_sql", "values_sql"]

FACTS = "facts"
"""The events: the log's columns, `time_us` and `arrived_us` (int64), and measures in integer units (whole decimals)."""

LOG = "log"
"""The events as the log has them: its columns, every offset once."""

SPINE = "spine"
"""The entity's join keys (strings), `time_us` and `row` (int64)."""


@lru_cache(maxsize=256)
def values_sql(plan: EntityPlan, names: frozenset[str]) -> tuple[str, pa.Schema]:
    """Return the query of `row` and the named features at every row of the spine, in its order, and its types.

    DuckDB's own may be wider. Raises DefinitionError for an unknown feature.
    """
    keys = dict.fromkeys(plan.join_keys, "string")
    spine = ibis.table({**keys, "time_us": "int64", "row": "int64"}, SPINE)
    values = entity_values(_facts(plan.schema), spine, plan, names).order_by("row")
    return str(ibis.to_sql(values, "duckdb")), values.schema().to_pyarrow()


@lru_cache(maxsize=64)
def states_sql(plan: EntityPlan, topic: str) -> str:
    """Return the query of every entity's state; `topic` is the newest topic's source."""
    return str(ibis.to_sql(entity_states(_facts(plan.schema), plan, topic), "duckdb"))


def _facts(schema: Schema) -> ir.Table:
    columns = {name: column.copy(nullable=True) for name, column in ibis.schema(columns_of(schema).log).items()}
    exact = dict.fromkeys((measure.name for measure in schema.measures), EXACT)
    return ibis.table({**columns, **exact, "time_us": "int64", "arrived_us": "int64"}, FACTS)
