"""Confirm that replicas have the states before the offsets of their events are committed to Kafka.

    begin ─▶ states are read and written … ─▶ confirm ─▶ commit offsets ─▶ states … ─▶ confirm ─▶ commit …
      ▲                                          │
      └───── read again what is not committed ◀──┘ FailedOverError

Redis answers a write before its replicas have it, so a failover loses the last moments. `confirm` succeeds only if
every primary is the same process, with the same history, as at `begin`, and enough replicas have all of its writes.
Replicas take a primary's writes in one order: one that has a later write has every earlier one, of all clients.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

import redis
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, ResponseError

from data.errors import FailedOverError, NotReplicatedError, UnavailableError
from data.project import PROJECT
from features.state.online.cluster import LateCluster

__all__ = ["NO_REPLICATION", "Replication"]

_LOOK_AGAIN_S = 30.0
"""Where there are no replicas: interval, in seconds, at which to look for new ones."""

_KEY_LIVES_MS = 3_600_000
"""How long the small keys live that `confirm` writes."""


class _Primary(NamedTuple):
    """The identity of one history of writes.

    `run_id` changes when the process is restarted; `replid` when a replica is promoted, and, which is harmless, when a
    primary gets its first replica.
    """

    node: str
    run_id: str
    replid: str


@dataclass(frozen=True)
class _Report:
    """What a node reports of itself and of its cluster.

    `slots` are the ends of the slot ranges that it holds; `primaries` the ids of all nodes that hold slots; `takers` of
    those that its own slots are moving to.
    """

    primary: _Primary
    is_primary: bool
    has_replicas: bool
    slots: Sequence[tuple[int, int]] = ()
    primaries: frozenset[str] = frozenset()
    takers: frozenset[str] = frozenset()

    def holds(self, key: str) -> bool:
        """Return whether a key may be written on this node."""
        return any(first <= key_slot(key.encode()) <= last for first, last in self.slots)


class Replication:
    """The replicas of one Redis, or of a Redis Cluster.

    `client` must be the one that reads and writes the states, since the nodes that it takes for primaries are checked.
    Its socket timeout must be longer than `timeout_ms`, which is for all primaries together. `replicas` must confirm a
    write; None means 1 where there are any replicas, else none. Not thread-safe.
    """

    def __init__(
        self,
        client: Any,
        replicas: int | None,
        timeout_ms: int = 1_000,
        *,
        project: str = PROJECT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._asked = replicas
        self._needed = replicas or 0
        self._timeout_ms = timeout_ms
        self._project = project
        self._monotonic = monotonic
        self._is_cluster = isinstance(client, LateCluster | redis.RedisCluster)
        self._era: dict[str, _Primary] = {}
        """The primaries at `begin`, by address. Empty before it, when nothing can be confirmed."""
        self._keys: dict[str, str] = {}
        self._looked_s = 0.0

    @property
    def is_needed(self) -> bool:
        """Whether replicas must confirm writes: a failover may lose what they lack."""
        return self._needed > 0

    def begin(self) -> None:
        """Record the primaries. To be called before the first state is read, and after every `FailedOverError`.

        Raises UnavailableError where one does not answer, or the nodes do not agree which they are.
        """
        if self._asked == 0:
            return
        self._era = {}
        reports = self._look()
        disagreement = _disagreement(reports)
        if disagreement:
            self._refresh()
            raise UnavailableError(f"{disagreement}; it is tried again until the nodes agree")
        self._era = {name: report.primary for name, report in reports.items()}

    def confirm(self) -> None:
        """Return if replicas have all that was written since `begin`. It may be called repeatedly.

        Raises NotReplicatedError where they do not have it yet, UnavailableError where a primary does not answer, and
        FailedOverError where writes may be lost: what is not committed must be read again, after a new `begin`.
        """
        if self._asked == 0:
            return
        if self._needed == 0:
            if self._monotonic() - self._looked_s < _LOOK_AGAIN_S:
                return
            reports = self._look()
            if self._needed == 0:
                self._era = {name: report.primary for name, report in reports.items()}
                return
        self._confirm()

    def _look(self) -> dict[str, _Report]:
        """Return the report of every primary; record whether there are replicas."""
        reports = {name: self._report(name, client, ())[1] for name, client in self._primaries().items()}
        self._looked_s = self._monotonic()
        if self._asked is None and any(report.has_replicas for report in reports.values()):
            # Needed from now on, also while replicas are down: a new primary has none until the old one is back.
            self._needed = 1
        for name, report in reports.items():
            self._keys[name] = self._key(report)
        return reports

    def _confirm(self) -> None:
        primaries = self._primaries()
        if primaries.keys() != self._era.keys():
            raise self._failed_over(set(primaries) ^ set(self._era))
        deadline_s = self._monotonic() + self._timeout_ms / 1_000
        reports, short = {}, list[NotReplicatedError]()
        for name, client in primaries.items():
            left_ms = max(1, int((deadline_s - self._monotonic()) * 1_000))
            # WAIT waits for the writes of its own connection: this one, and so all that came before it.
            written = (("SET", self._keys[name], "", "PX", _KEY_LIVES_MS), ("WAIT", self._needed, left_ms))
            # The node reports its identity after WAIT, so the writes were confirmed under this identity.
            answers, reports[name] = self._report(name, client, written)
            short += self._shortfall(name, answers)
        changed = {name for name, report in reports.items() if not _is_same(report, self._era[name])}
        if changed:
            raise self._failed_over(changed)
        if _disagreement(reports):
            raise self._failed_over(set(reports))
        for name, report in reports.items():
            if not report.holds(self._keys[name]):
                self._keys[name] = self._key(report)
        if short:
            raise short[0]
        ids = {primary.node for primary in self._era.values()}
        for name, report in reports.items():
            if report.takers - ids:
                raise NotReplicatedError(
                    f"Redis: slots of {name} are moving to a node that has none yet, whose replicas cannot be asked; "
                    "it is tried again until the first slot is there",
                    node=name,
                    wanted=self._needed,
                )

    def _shortfall(self, name: str, answers: Sequence[Any]) -> list[NotReplicatedError]:
        """Return an error if a primary's replicas lack writes, else nothing."""
        refused = next((answer for answer in answers if isinstance(answer, ResponseError)), None)
        if refused is None and answers[1] >= self._needed:
            return []
        replicas = 0 if refused else answers[1]
        reason = f" ({refused})" if refused else ""
        return [
            NotReplicatedError(
                f"Redis: {replicas} of {self._needed} replicas of {name} have its writes after {self._timeout_ms} ms"
                f"{reason}; nothing is committed until they have: start them, or set ENCORE_REDIS_REPLICAS",
                node=name,
                replicas=replicas,
                wanted=self._needed,
            )
        ]

    def _failed_over(self, names: Collection[str]) -> FailedOverError:
        self._refresh()
        nodes = tuple(sorted(names))
        return FailedOverError(
            f"Redis: {', '.join(nodes)}: a primary was restarted or replaced, and may have forgotten writes; what is "
            "not committed must be folded again",
            nodes=nodes,
        )

    def _primaries(self) -> dict[str, Any]:
        """Return a client of each node that the states' client takes for a primary, by address."""
        if not self._is_cluster:
            return {"the store": self._client}
        try:
            nodes = self._client.get_primaries()
            return {node.name: self._client.get_redis_connection(node) for node in nodes}
        except (redis.ConnectionError, RedisClusterException) as error:
            raise UnavailableError(f"Redis: {error}; check REDIS_HOST and REDIS_PORT") from error

    def _report(self, name: str, client: Any, commands: Sequence[tuple[Any, ...]]) -> tuple[list[Any], _Report]:
        """Run commands and read the node's own report, all on one connection."""
        pipeline = client.pipeline(transaction=False)
        info_commands = [("INFO", "server"), ("INFO", "replication")] + [("CLUSTER NODES",)] * self._is_cluster
        for command in (*commands, *info_commands):
            pipeline.execute_command(*command)
        try:
            answers: list[Any] = pipeline.execute(raise_on_error=False)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            self._refresh(name)
            raise UnavailableError(f"Redis: {name} does not answer ({error}); it is asked again") from error
        info = answers[len(commands) :]
        for command, answer in zip(info_commands, info, strict=True):
            if isinstance(answer, ResponseError):
                raise UnavailableError(
                    f"Redis: {name} refuses {' '.join(command)} ({answer}); allow it, with SET and WAIT, or set "
                    "ENCORE_REDIS_REPLICAS=0"
                )
        return answers[: len(commands)], _read_report(*info)

    def _refresh(self, failing: str | None = None) -> None:
        """Make a cluster's client discover the primaries again; `failing` is asked last."""
        if not self._is_cluster:
            return
        try:
            if failing is not None:
                self._client.nodes_manager.move_node_to_end_of_cached_nodes(failing)
            self._client.nodes_manager.initialize()
        except (redis.RedisError, RedisClusterException):
            return  # no node answers now: the topology stays, and the next attempt asks again

    def _key(self, report: _Report) -> str:
        """Return a key that may be written on this node."""
        names = (f"{self._project}:flush:{number}" for number in count())
        return next(name for name in names if report.holds(name)) if report.slots else next(names)


NO_REPLICATION = Replication(None, 0)
"""No replication to confirm: for a single Redis without replicas."""


def _read_report(server: dict[str, Any], replication: dict[str, Any], nodes: dict[str, Any] | None = None) -> _Report:
    """Parse the answers of INFO and CLUSTER NODES."""
    run_id, replid = str(server["run_id"]), str(replication["master_replid"])
    is_primary, has_replicas = replication["role"] == "master", int(replication.get("connected_slaves", 0)) > 0
    if nodes is None:
        return _Report(_Primary("", run_id, replid), is_primary, has_replicas)
    own: dict[str, Any] = next(node for node in nodes.values() if "myself" in node["flags"].split(","))
    return _Report(
        _Primary(own["node_id"], run_id, replid),
        is_primary,
        has_replicas or any("slave" in node["flags"].split(",") for node in nodes.values()),
        [(int(slots[0]), int(slots[-1])) for slots in own["slots"]],
        frozenset(node["node_id"] for node in nodes.values() if node["slots"]),
        frozenset(move["node_id"] for move in own["migrations"] if move["state"] == "migrating"),
    )


def _is_same(report: _Report, before: _Primary) -> bool:
    return report.is_primary and report.primary == before


def _disagreement(reports: dict[str, _Report]) -> str:
    """Describe the disagreement where not exactly these nodes hold slots; empty where all agree."""
    ids = {report.primary.node for report in reports.values()}
    for name, report in reports.items():
        if not report.is_primary:
            return f"Redis: {name} is a replica and no primary"
        if report.primaries - ids:
            return f"Redis: {name} knows primaries that the client does not know"
        if report.primaries and report.primary.node not in report.primaries:
            return f"Redis: {name} holds no slots any more"
    return ""
