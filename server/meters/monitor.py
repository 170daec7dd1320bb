"""Metrics of the model monitor, and whether it still stores predictions and evaluates models."""

import time
from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from server.jobs.monitor import Monitor
from server.meters.part import counted, measured

__all__ = ["MonitorMeters"]

_TURN_S = 60.0
"""A turn that lasts so long counts as a standstill, s; it takes less than a second unless Kafka is away."""

_FAILING_S = 30.0
"""Failing to store predictions for so long counts as a standstill, s."""


class MonitorMeters:
    """The metrics of one monitor."""

    name = "monitor"

    def __init__(self, monitor: Monitor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monitor = monitor
        self._monotonic = monotonic

    def standstill(self) -> str:
        """Return why the monitor makes no progress; empty if it does."""
        silent_s, failing_s = self._silent_s(), self._failing_s()
        if silent_s >= _TURN_S:
            return f"monitor: its last turn began {silent_s:.0f} s ago; look at its output"
        if failing_s >= _FAILING_S:
            return f"monitor: predictions are not stored for {failing_s:.0f} s: {self._monitor.failing[1]}"
        return ""

    def collect(self) -> Iterator[Metric]:
        """Yield the monitor's metrics since its start."""
        monitor = self._monitor
        yield counted("encore_monitor_predictions", "Predictions stored.", monitor.taken)
        yield counted("encore_monitor_commands", "Commands started, by what they are for.", monitor.started, "command")
        yield measured("encore_monitor_turn_seconds", "Since the last turn began.", self._silent_s())
        yield measured("encore_monitor_failing_seconds", "How long predictions are not stored.", self._failing_s())

    def _silent_s(self) -> float:
        return max(0.0, self._monotonic() - self._monitor.turned_s)

    def _failing_s(self) -> float:
        since_s = self._monitor.failing[0]
        return 0.0 if since_s is None else max(0.0, self._monotonic() - since_s)
