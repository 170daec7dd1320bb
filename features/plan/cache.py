"""The compiled plan kept in a file: compiling imports Featuretools (seconds), reading it back takes milliseconds."""

import hashlib
import re
from pathlib import Path

import msgspec

from data.atomic import write_whole
from data.errors import SchemaError
from data.project import DEFAULT, Project
from features.plan.plan import Plan

__all__ = ["SOURCES", "compile_definitions", "earlier_plan", "fingerprint", "is_present", "kept_plan", "load_plan"]

_HASH = re.compile(r"[0-9a-f]{12}")

_ROOT = Path(__file__).parents[2]

SOURCES = (
    "data/schema.py",
    "features/kinds.py",
    "features/order_primitives.py",
    "features/plan/compiler.py",
    "features/plan/entity_set.py",
    "features/plan/own.py",
    "features/plan/plan.py",
    "features/plan/where.py",
    "features/primitives.py",
    "features/summaries.py",
)
"""The files by which a plan is compiled from those of a project."""


class _PlanFile(msgspec.Struct, frozen=True):
    """A plan and the fingerprint of the source files that it was compiled from."""

    sources: str
    plan: Plan


def load_plan(path: Path, project: Project = DEFAULT) -> Plan:
    """Return the plan of a project's present definitions, compiled again where the file at `path` is of others.

    Every plan that was compiled is kept beside it, in the folder `plans`.
    """
    sources = fingerprint(project)
    kept = _read(path)
    if kept is not None and kept.sources == sources:
        return kept.plan
    plan = compile_definitions(project)
    for compiled in (plan,) if kept is None else (kept.plan, plan):  # a past answer may be computed again, long after
        write_whole(_earlier(path, compiled.hash), msgspec.json.encode(compiled))
    write_whole(path, msgspec.json.encode(_PlanFile(sources, plan)))
    return plan


def is_present(path: Path, project: Project = DEFAULT) -> bool:
    """Return whether the plan in the file is of the present definitions. Nothing is compiled."""
    kept = _read(path)
    return kept is not None and kept.sources == fingerprint(project)


def compile_definitions(project: Project = DEFAULT) -> Plan:
    """Compile a project's present definitions into a plan.

    Raises `DefinitionError`, with file and line, for what is wrong in them.
    """
    with project.naming_the_line():
        from features.plan.compiler import compile_plan  # noqa: PLC0415 - it imports Featuretools (seconds)

        return compile_plan(project)


def kept_plan(path: Path) -> Plan | None:
    """Return the plan in the file, whatever definitions it is of; None where there is none to read."""
    kept = _read(path)
    return None if kept is None else kept.plan


def earlier_plan(path: Path, plan_hash: str) -> Plan | None:
    """Return the plan of a hash, if it was ever compiled for the file at `path`; None where it is not kept."""
    kept = kept_plan(path)
    if kept is not None and kept.hash == plan_hash:
        return kept
    if not _HASH.fullmatch(plan_hash):
        return None
    try:
        plan = msgspec.json.decode(_earlier(path, plan_hash).read_bytes(), type=Plan)
    except (FileNotFoundError, msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError):
        return None
    return plan if plan.hash == plan_hash else None


def _earlier(path: Path, plan_hash: str) -> Path:
    return path.parent / "plans" / f"{plan_hash}.json"


def _read(path: Path) -> _PlanFile | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_PlanFile)
    except (FileNotFoundError, msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError):
        return None


def fingerprint(project: Project = DEFAULT, root: Path = _ROOT) -> str:
    """Return the SHA-256 of a project's sources and of the compiler's under the folder `root`, in hexadecimal."""
    digest = hashlib.sha256(project.digest.encode())
    for name in SOURCES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()
