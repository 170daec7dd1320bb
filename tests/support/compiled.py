"""The compiled plan of the present definitions, made once for all tests of a run."""

from functools import cache
from pathlib import Path

from made_once import made_once

from features.plan.cache import load_plan
from features.plan.plan import Plan

__all__ = ["plan", "plan_bytes"]


def _folder() -> Path:
    return made_once("plan", lambda folder: load_plan(folder / "plan.json"))


@cache
def plan_bytes() -> bytes:
    """The plan's file, as a home has it: whoever finds it there need not import Featuretools (two seconds)."""
    return (_folder() / "plan.json").read_bytes()


@cache
def plan() -> Plan:
    """The plan."""
    return load_plan(_folder() / "plan.json")
