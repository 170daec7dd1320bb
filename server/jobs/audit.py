"""The audit: repeats `encore verify` on a small sample, and stores the last result in Redis."""

import logging
import threading
from typing import Annotated, Any

import msgspec
import redis

from data.errors import EncoreError
from features.state.online.answers import ask, read_value
from features.state.online.states import LAST_US
from server.redis.connections import connect_redis
from server.settings import Settings

__all__ = ["Audit", "drop_audit", "last_audit", "run_audit"]

logger = logging.getLogger(__name__)


class Audit(msgspec.Struct, frozen=True):
    """The last comparison: its time (UTC µs), how much was compared, and the first differences in words."""

    at_us: Annotated[int, msgspec.Meta(ge=0, lt=LAST_US)]
    entities: int
    values: int
    differing: int
    differences: list[str]


def last_audit(client: "redis.Redis", project: str) -> Audit | None:
    """Return the last audit; None if there is none, or it is unreadable.

    Raises UnavailableError if Redis does not answer.
    """
    try:
        stored = read_value(client, _key(project))
        return msgspec.json.decode(stored, type=Audit) if stored else None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def drop_audit(client: Any, project: str) -> None:
    """Delete the last audit, which may name entities."""
    ask(lambda: client.unlink(_key(project)))


def run_audit(settings: Settings, stop: threading.Event, *, every_s: float, sample: int) -> None:
    """Compare `sample` new entities of each kind every `every_s` seconds, until `stop` is set."""
    from server.jobs.verification import run_verification  # noqa: PLC0415 - it imports Featuretools and Feast

    client = connect_redis(settings, timeout_s=30)
    seed = 0
    while not stop.is_set():
        try:
            verdict = run_verification(settings, sample=sample, as_of_us=None, seed=seed)
            audit = Audit(
                verdict.at_us,
                verdict.entities,
                sum(verdict.compared.values()),
                len(verdict.disagreements),
                [" ".join(map(str, disagreement)) for disagreement in verdict.disagreements[:3]],
            )
            client.set(_key(settings.project), msgspec.json.encode(audit))
        except (EncoreError, redis.RedisError, OSError) as error:
            logger.warning("audit skipped: %s", error)
        seed += 1
        stop.wait(every_s)


def _key(project: str) -> str:
    return f"{project}:audit"
