"""One look of a monitor, when all that it does now and then is due."""

from collections import Counter
from collections.abc import Callable

from server.jobs.monitor import Monitor
from server.settings import Settings

__all__ = ["started_by"]


def started_by(settings: Settings, look: Callable[[Monitor], object]) -> Counter[str]:
    """The commands that a monitor's look starts, by what they are for; they are ended."""
    monitor = Monitor(settings, None)
    monitor._retention_due_s = monitor._table_due_s = 0.0  # noqa: SLF001 - an hour has passed
    look(monitor)
    for child in monitor._children.values():  # noqa: SLF001 - which it would end
        child.stop()
    return monitor.started
