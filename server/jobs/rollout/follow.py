"""What a rollout waits for: that workers fold into the other edition of the states, and that they notice a switch."""

import time

from features.state.editions.behind import lacking
from features.state.editions.editions import Opened
from features.state.editions.standing import Standing
from server.jobs.rollout.ground import Ground, Tell
from server.jobs.rollout.lease import Lease

__all__ = ["LOOK_S", "PATIENCE_S", "await_live", "follow"]

LOOK_S = 0.2
"""How often a rollout looks what workers do, s."""

PATIENCE_S = 30.0
"""Time limit for live workers to notice a change of stage, s."""


def follow(ground: Ground, lease: Lease, tell: Tell, standing: Standing, other: Opened) -> None:
    """Return when the other edition has everything that the live one has, and keeps up.

    Waits for workers to follow it; if there are none, folds the log in their place.
    """
    from features.batch.edition import catch_up  # noqa: PLC0415 - it imports DuckDB

    last_message = ""
    while True:
        workers = ground.heartbeats.all()
        waiting = [
            worker.worker for worker in workers if (worker.edition, worker.follows) != (standing.live.id, other.id)
        ]
        if workers and not waiting:
            return
        if not workers:
            lease.say("folds what came meanwhile")
            catch_up(other, ground.log)
            if not lacking(other, ground.log) and not ground.heartbeats.all():
                return
            continue
        message = f"waits for {', '.join(waiting)} to fold into both"
        lease.say(message, len(workers) - len(waiting), len(workers))
        if message != last_message:
            tell(message)
            last_message = message
        time.sleep(LOOK_S)


def await_live(ground: Ground, lease: Lease, standing: Standing) -> None:
    """Return when all workers fold into the live edition, or after a time limit, since they will."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if all(worker.edition == standing.live.id for worker in ground.heartbeats.all()):
            return
        lease.say("waits for workers to notice")
        time.sleep(LOOK_S)
