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

__all__ = ["Drop"]

_SETTLES_S = 5.0
"""How long an edition is kept after another went live, s: readers poll every half second."""


class Drop:
    """Deletes the edition that is not live."""

    def __init__(self, ground: Ground, lease: Lease, tell: Tell) -> None:
        self._ground = ground
        self._lease = lease
        self._tell = tell

    def run(self, standing: Standing) -> int:
        """Delete the edition when nothing reads it or folds into it any more; return the number of its states."""
        assert standing.other is not None  # noqa: S101 - callers have checked
        if standing.stage != "dropping":
            standing = self._ground.editions.move(standing, msgspec.structs.replace(standing, stage="dropping"))
        other = standing.other
        assert other is not None  # noqa: S101 - as above
        self._await_unused(standing, other.id)
        self._tell("deleting the states that do not answer")
        self._lease.say("deletes the states that do not answer")
        try:
            schema = self._ground.editions.plan(other).schema
        except StateError:
            schema = self._ground.settings.declared.schema
        count = self._ground.editions.drop(other, schema)
        self._ground.editions.move(standing, Standing(standing.live, since_us=standing.since_us))
        return count

    def _await_unused(self, standing: Standing, other: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            workers = self._ground.heartbeats.all()
            age_s = (wall_clock() - standing.since_us) / MICROS
            if age_s >= _SETTLES_S and not any(_is_in(worker, other, standing.live.id) for worker in workers):
                return
            self._lease.say("waits until nobody reads the states that do not answer")
            time.sleep(LOOK_S)


def _is_in(worker: WorkerStatus, other: str, live: str) -> bool:
    return worker.edition != live or (bool(worker.follows) and worker.follows == other)
