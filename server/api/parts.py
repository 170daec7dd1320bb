"""The parts of a running server, created by `create_app` and stored on the app."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends, Request

from events.predictions.sink import PredictionSink
from features.plan.plan import Plan
from features.state.states import States
from model.registry.published import Registry
from server.api.asgi.rate_limit import RateLimit
from server.api_keys import ApiKey
from server.audit_log.entries import AuditLog
from server.jobs.audit import Audit
from server.jobs.model_work import ModelWork
from server.redis.watch import Watch
from server.scoring.clock import LiveClock
from server.scoring.contenders import Models
from server.scoring.intervention_table import InterventionTable
from server.scoring.prediction_messages import Given
from server.scoring.reader import Reader
from server.scoring.scoring import Scoring
from server.scoring.telemetry import Telemetry

__all__ = ["PARTS", "Parts", "PartsDep", "parts_of"]

PARTS = "encore.parts"
"""The entry of a request's scope that holds the parts."""


@dataclass(frozen=True)
class Parts:
    """All parts of a running server. `states` is for routes that run in a thread, since it may block.

    `home_key` is the administrator's key if no keys are configured; None if it could not be created.
    """

    plan: Plan
    states: States
    clock: LiveClock
    reader: Reader
    models: Models
    scoring: Scoring
    telemetry: Telemetry
    watch: Watch
    last_audit: Callable[[], Audit | None]
    rate_limit: RateLimit | None
    home_key: ApiKey | None
    registry: Registry
    model_work: ModelWork
    audit_log: AuditLog
    interventions: InterventionTable
    predictions: PredictionSink[Given]

    @cached_property
    def plan_hash(self) -> bytes:
        """The plan's hash, as sent in headers."""
        return self.plan.hash.encode()


def parts_of(request: Request) -> Parts:
    """Return the parts as of a request's arrival.

    This avoids FastAPI's dependency machinery, which costs a fifth of an answer.
    """
    parts: Parts = request.scope[PARTS]
    return parts


async def _parts(request: Request) -> Parts:  # a coroutine: FastAPI would run a plain function in a thread
    return parts_of(request)


PartsDep = Annotated[Parts, Depends(_parts)]
