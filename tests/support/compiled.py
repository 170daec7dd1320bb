"""The compiled plan of the present definitions, made once for all tests of a process."""

import tempfile
from functools import cache
from pathlib import Path

from features.plan.cache import load_plan
from features.plan.plan import Plan

__all__ = ["plan", "plan_bytes"]


@cache
def plan_bytes() -> bytes:
    """The plan's file, as a home has it: whoever finds it there need not import Featuretools (two seconds)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        load_plan(path)
        return path.read_bytes()


@cache
def plan() -> Plan:
    """The plan."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan.json"
        path.write_bytes(plan_bytes())
        return load_plan(path)
