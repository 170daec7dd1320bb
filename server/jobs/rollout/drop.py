"""The end of a rollout: the edition of the states that does not answer is deleted."""

import time

import msgspec

from data.clock import wall_clock
from data.errors import StateError
from data.units import MICROS
from events.stream.heartbeat import WorkerStatus
from features.state.editions.standing import Standing
from server.jobs.rollout.follow import LOOK_S, PATIENCE_S
from server.jobs.rollout.ground import Ground, Tell
from server.jobs.rollout.lease import Lease

__all__ = ["drop"]

_SETTLES_S = 5.0
"""How long an edition is kept after another went live, s: readers poll every half second."""


def drop(ground: Ground, lease: Lease, tell: Tell, standing: Standing) -> int:
    """Delete the edition that is not live, when nothing reads it or folds into it any more.

    Returns the number of its states.
    """
    assert standing.other is not None  # noqa: S101 - callers have checked
    if standing.stage != "dropping":
        standing = ground.editions.move(standing, msgspec.structs.replace(standing, stage="dropping"))
    other = standing.other
    assert other is not None  # noqa: S101 - as above
    _await_unused(ground, lease, standing, other.id)
    tell("deleting the states that do not answer")
    lease.say("deletes the states that do not answer")
    try:
        schema = ground.editions.plan(other).schema
    except StateError:
        schema = ground.settings.declared.schema
    count = ground.editions.drop(other, schema)
    ground.editions.move(standing, Standing(standing.live, since_us=standing.since_us))
    return count


def _await_unused(ground: Ground, lease: Lease, standing: Standing, other: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        workers = ground.heartbeats.all()
        age_s = (wall_clock() - standing.since_us) / MICROS
        if age_s >= _SETTLES_S and not any(_is_in(worker, other, standing.live.id) for worker in workers):
            return
        lease.say("waits until nobody reads the states that do not answer")
        time.sleep(LOOK_S)


def _is_in(worker: WorkerStatus, other: str, live: str) -> bool:
    return worker.edition != live or (bool(worker.follows) and worker.follows == other)
