"""Whether the stream makes progress, which a running process alone does not show."""

from collections.abc import Sequence

from events.stream.heartbeat import Heartbeats, LastBeat, WorkerStatus

__all__ = ["STALLED_S", "is_stalled", "standstill", "stream_problems"]

STALLED_S = 30.0
"""A worker that folds none for so long while messages wait stands still, whatever its process does."""


def is_stalled(worker: WorkerStatus) -> bool:
    """Return whether a live worker stands still though messages wait."""
    return worker.stood_s >= STALLED_S


def stream_problems(heartbeats: Heartbeats, workers: Sequence[WorkerStatus]) -> list[str]:
    """Return why not all events get into the features, in words; `workers` are the live ones."""
    read = {partition for worker in workers for partition in worker.ends}
    silent = [(last, unread) for last in heartbeats.silent() if (unread := sorted(last.status.ends.keys() - read))]
    return [trouble for worker in workers if (trouble := _trouble(worker))] + [_silence(*pair) for pair in silent]


def standstill(worker: WorkerStatus) -> str:
    """Return why a worker makes no progress, in words; empty where it does."""
    name = worker.worker[:100]
    if is_stalled(worker):
        reason = f"it waits: {worker.waiting}" if worker.waiting else "look at its output, or start it again"
        lag = sum(worker.lag.values())  # of what it reads: nothing where it may not begin
        waits = f"{lag:,} messages wait, and it" if lag else "it"
        return f"stream: {name} is stalled: {waits} has folded none for {worker.stood_s:,.0f} s; {reason}"
    if worker.uncommitted_s >= STALLED_S:
        return (
            f"stream: {name} folds and has committed nothing for {worker.uncommitted_s:,.0f} s; {worker.waiting}; it "
            "is tried again, and what is not committed comes again"
        )
    return ""


def _trouble(worker: WorkerStatus) -> str:
    if standing := standstill(worker):
        return standing
    if worker.lost:
        return (
            f"stream: {worker.worker[:100]} found {worker.lost:,} messages dropped by Kafka's retention before they "
            "were read, and not in the event log; send them again where you can, and give the topic a longer retention"
        )
    return ""


def _silence(last: LastBeat, partitions: Sequence[int]) -> str:
    name, lag = last.status.worker[:100], sum(last.status.lag.values())
    reason = f", waiting: {last.status.waiting}" if last.status.waiting else ""
    return (
        f"stream: {name} is stalled: it has said nothing for {last.age_s:,.0f} s ({lag:,} messages waited "
        f"then{reason}), and nobody reads its partitions {', '.join(map(str, partitions))}; look at its output, and "
        "start it again with `encore stream`"
    )
