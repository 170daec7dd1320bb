"""Making states anew that cannot be read, on a thread of its own beside a worker.

    fold        a state cannot be read ── named as set aside, the others go on
    repairer    all workers stand still, with all they folded in the log ── made anew from the log ── they go on

Any worker's does it for all: whoever asks first that workers stand still. It takes some seconds.
"""

import logging
import threading

import redis

from data.errors import EncoreError, UnavailableError
from data.log.event_log import EventLog
from events.stream.heartbeat import Heartbeats
from events.stream.parts import Parts
from events.stream.pause import paused_workers
from features.state.redis import OnlineStates

__all__ = ["Repairer"]

logger = logging.getLogger(__name__)

_EVERY_S = 30.0
"""How often it looks whether something is set aside that it was not told of."""

_LONGEST_S = 600.0
"""Between two tries where the log cannot help: it has a hole, or cannot be read."""


class Repairer:
    """Looks after the states that are set aside in one store."""

    def __init__(self, parts: Parts, heartbeats: Heartbeats, memory: str) -> None:
        self._plan = parts.plan
        self._states = parts.states
        self._log = parts.log
        self._heartbeats = heartbeats
        self._memory = memory
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repairer", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def wake(self) -> None:
        """Something was set aside just now."""
        self._wake.set()

    def close(self) -> None:
        """End after what is being done; nothing is half done where that is not awaited."""
        self._stop.set()
        self._wake.set()

    def _run(self) -> None:
        wait_s = _EVERY_S
        while not self._stop.is_set():
            self._wake.wait(wait_s)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self._repair()
                wait_s = _EVERY_S
            except (UnavailableError, redis.RedisError) as error:
                logger.warning("states that are set aside wait: %s", error)
                wait_s = 1.0
            except (EncoreError, OSError) as error:
                logger.error("states that are set aside cannot be made anew: %s", error)
                wait_s = min(2 * wait_s, _LONGEST_S)

    def _repair(self) -> None:
        states, log = self._states, self._log
        if not isinstance(states, OnlineStates) or not isinstance(log, EventLog) or not states.aside():
            return
        from features.batch.repair import remake  # noqa: PLC0415 - it imports DuckDB, and mostly it need not

        with paused_workers(self._heartbeats):
            keys = states.aside()
            made = remake(self._plan, states, log, keys, memory=self._memory)
        logger.warning("%d of %d states that were set aside are made anew from the event log", made, len(keys))
