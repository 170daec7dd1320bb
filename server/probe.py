"""What a container's health check asks of a part that has no port: does the worker beat, do events arrive?

python -m server.probe worker NAME        the stream worker of that name has said how it is, in the last 15 seconds
python -m server.probe traffic SECONDS    some worker has folded an event that is no older than that
"""

import argparse
import sys
from collections.abc import Sequence

import redis

from data.clock import Clock, wall_clock
from data.errors import EncoreError
from data.event import MICROS
from events.heartbeat import Heartbeats
from features.online import PROJECT, OnlineStates
from server.connections import connect_redis
from server.settings import read_settings

__all__ = ["events_arrive", "main", "worker_lives"]


def worker_lives(client: "redis.Redis", name: str) -> bool:
    """Whether this worker goes round its loop. One that waits for Kafka or Redis does not."""
    return Heartbeats(client, PROJECT).of(name) is not None


def events_arrive(client: "redis.Redis", seconds: float, clock: Clock = wall_clock) -> bool:
    """Whether the newest event in the states is at most so old."""
    newest = OnlineStates(client).newest_event()
    return newest is not None and clock() - newest <= seconds * MICROS


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all is well, 1 if not."""
    parser = argparse.ArgumentParser(prog="probe", description="Ask whether a part of Encore is well.")
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("worker").add_argument("name")
    parts.add_parser("traffic").add_argument("seconds", type=float)
    asked = parser.parse_args(arguments)
    try:
        client = connect_redis(read_settings())
        well = worker_lives(client, asked.name) if asked.part == "worker" else events_arrive(client, asked.seconds)
    except (EncoreError, redis.RedisError) as error:
        sys.stderr.write(f"probe: {error}\n")
        return 1
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
