"""A Redis Cluster: a client that connects late, and runs many commands in one round trip to all nodes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import redis
from redis.backoff import NoBackoff
from redis.cluster import PipelineCommand
from redis.exceptions import AskError, MovedError, RedisClusterException, ResponseError
from redis.retry import Retry

__all__ = ["Command", "LateCluster"]

_ROUTES = 2
"""Attempts to find a cluster's keys: the second one after reading the cluster's topology again."""


class Command(NamedTuple):
    """A Redis command, and the one key that it touches."""

    key: bytes
    words: tuple[Any, ...]


class LateCluster:
    """A client of a Redis Cluster that connects when first used, as a client of a single Redis does.

    redis-py's own connects in its constructor, and fails for good where no node answers then.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._client is None:
            try:
                self._client = redis.RedisCluster(**self._options)
            except RedisClusterException as error:
                raise redis.ConnectionError(f"no node of the cluster answers ({error})") from error
        return getattr(self._client, name)

    def info(self, section: str) -> dict[str, dict[str, Any]]:
        """Return what each primary says of itself, by node; redis-py's own asks any one of them."""
        answer = self.__getattr__("info")(section, target_nodes=redis.RedisCluster.PRIMARIES)
        return answer if all(isinstance(section_fields, dict) for section_fields in answer.values()) else {"": answer}

    def nodes_of(self, slots: Sequence[int]) -> list[object]:
        """Return which primary has each of these slots, as far as is known; without a round trip."""
        slots_cache = self.nodes_manager.slots_cache
        return [slots_cache[slot][0].name if slots_cache.get(slot) else None for slot in slots]

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip to all nodes concerned; an error that Redis answers is a value among them.

        redis-py's own pipeline asks the cluster, command by command, which keys a script touches, and resends moved
        commands one by one: seconds for what takes milliseconds.
        """
        answers: list[Any] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for attempt in range(_ROUTES):
            pipeline = self.pipeline(transaction=False)
            pipeline.set_retry(Retry(NoBackoff(), 0))
            stack = [
                PipelineCommand(commands[at].words, {"target_nodes": self.get_node_from_key(commands[at].key)}, at)
                for at in waiting
            ]
            try:
                results = pipeline.send_cluster_commands(stack, raise_on_error=False, allow_redirections=False)
            except redis.ConnectionError:  # nothing was sent
                if attempt == _ROUTES - 1:
                    raise
                self.nodes_manager.initialize()
                continue
            for at, answer in zip(waiting, results, strict=True):
                answers[at] = answer
            waiting = [at for at in waiting if isinstance(answers[at], MovedError | redis.ConnectionError)]
            if not waiting:
                break
            # A dead connection, or a new primary. Repeating is safe: compare-and-set does not write twice.
            self.nodes_manager.initialize()
        for at, answer in enumerate(answers):
            if isinstance(answer, AskError) and not isinstance(answer, MovedError):
                answers[at] = self.execute_command(*commands[at].words)  # its slot is being moved
            elif isinstance(answer, MovedError):
                raise redis.ConnectionError(f"the nodes do not agree where a key is ({answer})")
            elif isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                raise answer
        return answers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, if any were made."""
        if self._client is not None:
            self._client.close()
