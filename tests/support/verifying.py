"""Verification over a log, drawn and computed by DuckDB."""

from typing import Any

from data.log.event_log import EventLog
from features.batch.engine import DuckDBEngine
from features.plan.plan import Plan
from features.state.states import States
from features.verify.verification import Verdict, verify

__all__ = ["verify_log"]


def verify_log(plan: Plan, log: EventLog, states: States, **options: Any) -> Verdict:
    with DuckDBEngine(log) as engine:
        return verify(plan, engine, states, None, **options)
