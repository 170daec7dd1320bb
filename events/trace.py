"""Traces events from their sender until features have them; does nothing unless tracing is on (`events.tracing`)."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

__all__ = ["NO_TRACE", "TRACE_HEADER", "Batch", "Sending", "Trace"]

TRACE_HEADER = "traceparent"
"""The header of a message that names its sender's span, as W3C's Trace Context has it."""


class Batch(NamedTuple):
    """Messages of one topic that are in the features now: since when (ns since 1970), how many, and how many events.

    `parents` are the values of their headers `traceparent`.
    """

    topic: str
    began_ns: int
    messages: int
    events: int
    parents: Sequence[str]


class Sending(Protocol):
    """One message on its way into Kafka."""

    @property
    def headers(self) -> list[tuple[str, bytes]] | None:
        """The message's headers."""

    def end(self, error: str = "") -> None:
        """Note that Kafka has the message, or refused it."""


class Trace(Protocol):
    """Where spans go."""

    def send(self, topic: str) -> Sending:
        """Begin to send one message."""

    def folded(self, batch: Batch) -> None:
        """Note a batch that is in the features."""


class _NoSending:
    headers = None

    def end(self, error: str = "") -> None:
        pass


class _NoTrace:
    _sending = _NoSending()

    def send(self, topic: str) -> Sending:  # noqa: ARG002 - nothing is noted
        return self._sending

    def folded(self, batch: Batch) -> None:
        pass


NO_TRACE: Trace = _NoTrace()
"""Records nothing."""
