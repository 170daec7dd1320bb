"""What routes are given: the parts that `create_app` prepared, found on the app."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from data.clock import Clock
from features.online import OnlineStates
from features.plan import Plan
from model.registry import Registry
from server.activity import Activity
from server.audit import Audit
from server.champion import Champion
from server.model_work import ModelWork
from server.reader import Reader
from server.scoring import Scoring

__all__ = ["Parts", "PartsDep", "count_request"]


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a running server is made of."""

    plan: Plan
    states: OnlineStates
    clock: Clock
    activity: Activity
    reader: Reader
    champion: Champion
    scoring: Scoring
    last_audit: Callable[[], Audit | None]
    registry: Registry
    model_work: ModelWork


# Coroutines, though they wait for nothing: a plain function would be sent to a thread and back.


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(_parts)]


async def count_request(parts: PartsDep) -> None:
    """Counts a request, whatever becomes of it."""
    parts.activity.note_request()
