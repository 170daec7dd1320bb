"""Metrics of a stream worker: its own counts, as it last reported them."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from events.stream.account import Account
from events.stream.heartbeat import WorkerStatus
from events.stream.liveness import STALLED_S, standstill
from server.meters.part import counted, measured, spread

__all__ = ["StreamMeters"]


class StreamMeters:
    """The metrics of one worker, which reports its status once a second on a thread of its own."""

    name = "stream"

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began_s = monotonic()
        self._latest: tuple[WorkerStatus, Account, float] | None = None

    def note(self, status: WorkerStatus, account: Account) -> None:
        """Record the worker's latest status."""
        self._latest = status, account, self._monotonic()

    def standstill(self) -> str:
        """Return why the worker makes no progress; empty if it does."""
        if self._latest is None:
            return (
                f"stream: nothing is read for {self._monotonic() - self._began_s:.0f} s: it waits for Redis and Kafka"
            )
        status, _, at_s = self._latest
        silent_s = self._monotonic() - at_s
        if silent_s >= STALLED_S:
            return f"stream: {status.worker} is within one batch, or hangs, for {silent_s:.0f} s; look at its output"
        return standstill(status)

    def collect(self) -> Iterator[Metric]:
        """Yield the worker's metrics since its start."""
        if self._latest is None:
            return
        status, account, _ = self._latest
        yield counted("encore_stream_messages", "Messages received, events or not.", status.received)
        yield counted("encore_stream_events", "Events folded into the states.", status.folded)
        yield counted("encore_stream_repeats", "Events that were sent before, and are not counted.", status.repeats)
        yield counted("encore_stream_late", "Events that arrived five minutes or more after their time.", status.late)
        what = "Messages of people who were forgotten, dropped."
        yield counted("encore_stream_suppressed", what, status.suppressed)
        letters = status.dead_letters
        yield counted("encore_stream_dead_letters", "Messages that are no events, by kind.", letters, "kind")
        yield counted("encore_stream_conflicts", "Writes that met another's, and were done again.", status.conflicts)
        yield counted("encore_stream_lost", "Messages that Kafka deleted before they were read.", status.lost)
        yield counted("encore_stream_set_aside", "States that could not be read.", status.set_aside)
        yield counted("encore_stream_log_files", "Files written into the event log.", status.files)
        lag = {str(partition): float(messages) for partition, messages in status.lag.items()}
        yield measured("encore_stream_lag", "Messages that wait, by partition.", lag, "partition")
        yield measured("encore_stream_partitions", "Partitions that the group has given to this worker.", len(lag))
        joined = {
            protocol: float(bool(status.membership.member)) for protocol in [status.membership.protocol] if protocol
        }
        yield measured("encore_stream_member", "Whether it is a member of the group, by protocol.", joined, "protocol")
        yield measured("encore_stream_stood_seconds", "How long messages wait and none is folded.", status.stood_s)
        waits_s = status.uncommitted_s
        yield measured("encore_stream_uncommitted_seconds", "How long nothing folded could be committed.", waits_s)
        yield spread("encore_stream_fold_seconds", "Time to fold one batch.", account.fold_seconds)
        what = "From an event's own time until it is in the features, by a sample of each batch."
        yield spread("encore_stream_freshness_seconds", what, account.freshness_seconds)
