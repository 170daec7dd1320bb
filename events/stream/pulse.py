"""The heartbeats of one worker, or of a Spark job in the place of workers, once a second."""

import logging
from collections.abc import Callable, Mapping

from data.clock import Clock
from events.kafka.connection import Progress
from events.stream.account import Account
from events.stream.heartbeat import Heartbeats, Membership, WorkerStatus

__all__ = ["BEAT_S", "Pulse"]

logger = logging.getLogger(__name__)

BEAT_S = 1.0
"""Interval of heartbeats, s."""


class Pulse:
    """Publishes the status of an account under a name.

    `on_status` is called with each status, whatever Redis answers, and with its account; `on_beat` after each
    heartbeat that Redis has.
    """

    def __init__(
        self,
        name: str,
        account: Account,
        clock: Clock,
        heartbeats: Heartbeats,
        *,
        on_beat: Callable[[], None] = lambda: None,
        on_status: Callable[[WorkerStatus, Account], None] = lambda _, __: None,
    ) -> None:
        self._first_name = self._name = name
        self._account = account
        self._clock = clock
        self._heartbeats = heartbeats
        self._on_beat = on_beat
        self._on_status = on_status

    def beat(self, member: Membership, progress: Mapping[int, Progress], editions: tuple[str, str]) -> None:
        """Publish a heartbeat; a name that a newer worker uses is given up.

        Raises what `on_status`, Redis and `on_beat` do. `editions` are those of `Account.status`.
        """
        status = self._account.status(self._name, member, self._clock(), progress, editions)
        self._on_status(status, self._account)
        if not self._heartbeats.beat(status):
            taken, self._name = self._name, f"{self._first_name[:240]}-{member.member[:8]}"
            logger.warning("another worker is named %s: this one is now %s; give each its own name", taken, self._name)
        self._on_beat()

    def stop(self) -> None:
        """Remove the heartbeat; where Redis does not take that, it expires by itself."""
        try:
            self._heartbeats.stop(self._name)
        except Exception as error:  # noqa: BLE001 - it vanishes by itself
            logger.warning("heartbeat not removed: %s", error)
