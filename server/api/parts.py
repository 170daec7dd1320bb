"""What routes are given: the parts that `create_app` prepared, found on the app."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from events.predictions.sink import PredictionSink
from features.plan.plan import Plan
from features.state.redis import OnlineStates
from model.interventions import InterventionRule
from model.registry.published import Registry
from server.api.asgi.rate_limit import RateLimit
from server.jobs.audit import Audit
from server.jobs.model_work import ModelWork
from server.redis.watch import Watch
from server.scoring.clock import LiveClock
from server.scoring.contenders import Models
from server.scoring.prediction_messages import Given
from server.scoring.reader import Reader
from server.scoring.scoring import Scoring
from server.scoring.telemetry import Telemetry

__all__ = ["Parts", "PartsDep", "parts_of"]


@dataclass(frozen=True)
class Parts:
    """Everything that a running server is made of. `states` is for routes that may wait in a thread."""

    plan: Plan
    states: OnlineStates
    clock: LiveClock
    reader: Reader
    models: Models
    scoring: Scoring
    telemetry: Telemetry
    watch: Watch
    last_audit: Callable[[], Audit | None]
    rate_limit: RateLimit | None
    registry: Registry
    model_work: ModelWork
    rules: tuple[InterventionRule, ...]
    predictions: PredictionSink[Given]

    @cached_property
    def plan_hash(self) -> bytes:
        """The plan's hash, as it stands in headers."""
        return self.plan.hash.encode()


def parts_of(request: Request) -> Parts:
    """The parts, asked for directly: a dependency of FastAPI's costs a fifth of an answer."""
    parts: Parts = request.app.state.parts
    return parts


async def _parts(request: Request) -> Parts:  # a coroutine: a plain function would be sent to a thread and back
    return parts_of(request)


PartsDep = Annotated[Parts, Depends(_parts)]
