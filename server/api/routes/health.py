"""Health routes: whether this server can predict, and what it has done."""

from importlib.metadata import version

from fastapi import APIRouter, Request, Response

from data.clock import wall_clock
from data.errors import UnavailableError
from data.units import from_micros
from server.api.asgi.guard import CALLER
from server.api.parts import Parts, PartsDep
from server.api.problems import UNAVAILABLE
from server.api.schemas import Health, LastPredictionMade, Liveness, ModelHealth, RedisHealth

__all__ = ["router"]

router = APIRouter(tags=["operation"])


@router.get(
    "/health",
    responses={503: {"model": Health, "description": "Redis or the model is not there"}},
    response_model_exclude_defaults=True,
)
def health(parts: PartsDep, request: Request, response: Response) -> Health:
    """Whether Redis answers and a model is loaded (else 503), versions, and counts since the process started.

    `degraded`: it answers, but the stream is stalled or the online store lacks states, as `problems` say.

    Where keys are required, the last question is shown to callers with a key only.
    """
    redis, problems, doubtful = _redis(parts)
    model = _model(parts)
    ok = redis.ok and model.loaded
    response.status_code = 200 if ok else 503
    telemetry = parts.telemetry
    caller = request.scope[CALLER]
    may_read = caller is not None and not caller.refusal("read", wall_clock())
    last = telemetry.last_prediction if may_read else None
    return Health(
        status="unavailable" if not ok else "degraded" if problems else "ok",
        problems=problems,
        doubtful=doubtful,
        redis=redis,
        model=model,
        version=version("encore-features"),
        feature_plan=parts.plan.hash,
        requests=telemetry.requests,
        predictions=telemetry.predictions,
        damaged_states=telemetry.damaged_states,
        last_prediction=last and LastPredictionMade(**last.told()),
    )


@router.get("/health/live")
async def live() -> Liveness:
    """Whether the process answers: a supervisor restarts one that does not. It checks nothing else."""
    return Liveness(status="ok")


@router.get("/health/ready", responses=UNAVAILABLE)
def ready(parts: PartsDep) -> Liveness:
    """Whether to send requests here: Redis answers and a model is loaded, else 503."""
    parts.models.get()
    parts.states.newest_event()
    return Liveness(status="ok")


def _redis(parts: Parts) -> tuple[RedisHealth, list[str], list[str]]:
    """Return whether Redis answers, the problems of stream and store, and entities that may lack states."""
    try:
        look = parts.watch.look()
    except UnavailableError as error:
        return RedisHealth(ok=False, error=str(error), newest_event=None), [], []
    newest = None if look.newest_us is None else from_micros(look.newest_us)
    return RedisHealth(ok=True, error=None, newest_event=newest), list(look.problems), list(look.doubtful)


def _model(parts: Parts) -> ModelHealth:
    refusal = parts.models.champion().refusal or None
    try:
        predictor = parts.models.get().predictor
    except UnavailableError as error:
        return ModelHealth(loaded=False, version=None, error=str(error))
    return ModelHealth(loaded=True, version=predictor.version, error=refusal)
