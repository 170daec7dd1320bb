"""Redis: whether it answers, is new enough, keeps what it holds, has room, and knows the time."""

from collections.abc import Iterator
from typing import Any

import redis

from data.clock import Clock, wall_clock
from data.errors import RedisRefusalError
from data.units import MICROS
from features.state.online.answers import ask, read_info
from server.doctor.finding import Finding, fail, looked, ok, warn
from server.redis.capacity import capacity_of
from server.redis.connections import connect_redis
from server.redis.editions import editions_of
from server.redis.ownership import require_own
from server.settings import Settings

__all__ = ["CLOCK_FAIL_S", "CLOCK_WARN_S", "look_at_store"]

_LEAST = 6
"""Oldest major version of Redis that has all commands; Valkey reports 7."""

_TIGHT, _FULL = 0.7, 0.85
"""Used shares of Redis' memory from which to warn, and to fail."""

_WRITES, _FAILED = ("rdb_last_bgsave_status", "aof_last_write_status"), {"err"}

CLOCK_WARN_S, CLOCK_FAIL_S = 1.0, 300.0
"""Clock differences from which to warn, and to fail: beyond it events lie in the future, and become dead letters."""


def look_at_store(settings: Settings, clock: Clock = wall_clock) -> Iterator[Finding]:
    """Yield findings about Redis; only the first if it does not answer."""
    client: Any = connect_redis(settings)
    try:
        began_us = clock()
        findings = list(looked("Redis", lambda: _answers(client)))
        yield from findings
        if findings[0].level == "fail":
            return
        for about, look in {
            "Redis: owner": lambda: _owner(settings, client),
            "Redis: memory": lambda: _memory(client),
            "Redis: persistence": lambda: _persistence(client),
            "Redis: clock": lambda: _clock(client, clock),
        }.items():
            yield from looked(about, look)
        took_s = (clock() - began_us) / MICROS
        if took_s > 1:
            yield warn("Redis: speed", f"a dozen questions took {took_s:.1f} s", "look at its SLOWLOG, disk and swap")
        yield from looked("Redis: states", lambda: _states(settings, client))
    finally:
        client.close()


def _answers(client: Any) -> Iterator[Finding]:
    ask(client.ping)
    try:
        nodes = read_info(client, "server")
    except (RedisRefusalError, redis.ResponseError):
        yield ok("Redis", "answers, and does not let this user ask for its version")
        return
    versions = sorted({str(node.get("redis_version", "")) for node in nodes})
    if old := [version for version in versions if version and int(version.split(".")[0]) < _LEAST]:
        yield fail("Redis", f"is {old[0]}", f"use Redis {_LEAST} or newer, or Valkey")
        return
    named = f"Valkey {nodes[0]['valkey_version']}" if "valkey_version" in nodes[0] else ", ".join(versions)
    yield ok("Redis", f"answers: {named}" + (f", {len(nodes)} nodes" if len(nodes) > 1 else ""))


def _owner(settings: Settings, client: Any) -> Iterator[Finding]:
    require_own(settings, client)
    yield ok("Redis: owner", f"the states of project {settings.project} are this home's, or nobody's yet")


def _states(settings: Settings, client: Any) -> Iterator[Finding]:
    """Count all states: nothing else notices a few that were deleted."""
    editions = editions_of(client, settings)
    if (live := editions.live()) is None:
        return
    states = editions.open(live).states
    stock, counts = states.inventory.look(), states.counts()
    lasting = {entity: least for entity, least in stock.expected.items() if entity not in stock.passing}
    missing = {entity: least - counts[entity] for entity, least in lasting.items() if counts[entity] < least}
    if missing:
        named = ", ".join(f"{number:,} of {lasting[entity]:,} of {entity}" for entity, number in missing.items())
        yield fail("Redis: states", f"were deleted, and are answered as strangers: {named}", "`encore rebuild`")
    else:
        yield ok("Redis: states", f"{sum(counts.values()):,} are there, no fewer than were written")


def _memory(client: Any) -> Iterator[Finding]:
    capacity = capacity_of(client)
    if capacity is None:
        yield ok("Redis: memory", "this user may not ask")
        return
    if capacity.policy != "noeviction":
        yield fail(
            "Redis: eviction",
            f"maxmemory-policy is {capacity.policy}: at its bound it drops states, which then count from nothing",
            "`redis-cli config set maxmemory-policy noeviction`, and in its configuration",
        )
    else:
        yield ok("Redis: eviction", "noeviction: at its bound it refuses, and workers wait")
    used = f"{capacity.used / 2**20:,.0f} MB used"
    if not capacity.bound:
        yield ok("Redis: memory", used)
        return
    message = f"{used} of {capacity.bound / 2**20:,.0f} MB ({capacity.share:.0%} of its {capacity.bound_by})"
    advice = "give it more, or finish a rollout (`encore rollout finish`)"
    if capacity.share >= _FULL:
        yield fail("Redis: memory", message, advice)
    elif capacity.share >= _TIGHT:
        yield warn("Redis: memory", message, advice)
    else:
        yield ok("Redis: memory", message)


def _persistence(client: Any) -> Iterator[Finding]:
    try:
        nodes = read_info(client, "persistence")
        saves = str(client.config_get("save").get("save", ""))
    except (RedisRefusalError, redis.ResponseError):
        yield ok("Redis: persistence", "this user may not ask")
        return
    if any(_FAILED & {str(node.get(name, "ok")) for name in _WRITES} for node in nodes):
        yield fail("Redis: persistence", "its last write to disk failed", "look at its log and its disk")
    elif all(int(node.get("aof_enabled", 0)) for node in nodes):
        yield ok("Redis: persistence", "append-only file")
    else:
        state = (
            f"snapshots alone (save {saves}): a crash loses what came since" if saves else "none: a restart loses all"
        )
        yield warn("Redis: persistence", state, "`appendonly yes`; after a loss `encore rebuild`")


def _clock(client: Any, clock: Clock) -> Iterator[Finding]:
    before_us, answer = clock(), ask(client.time)
    here_us = (before_us + clock()) / 2
    times = answer.values() if isinstance(answer, dict) else [answer]
    skew_s = max(((int(s) * MICROS + int(us) - here_us) / MICROS for s, us in times), key=abs)
    message = f"{abs(skew_s):.3f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    advice = "synchronize both clocks (NTP)"
    if abs(skew_s) >= CLOCK_FAIL_S:
        yield fail("Redis: clock", message, advice)
    elif abs(skew_s) >= CLOCK_WARN_S:
        yield warn("Redis: clock", message, advice)
    else:
        yield ok("Redis: clock", message)
