"""Rate limits per caller, counted in Redis, so that they hold across workers and servers.

The generic cell rate algorithm (ITU-T I.371): one number per caller, the time at which its allowance is full again.
"""

from server.redis.states import LiveStates

__all__ = ["RateLimit"]

_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local step, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = whole + step - now - burst
if wait > 0 then return wait end
redis.call('SET', KEYS[1], string.format('%.0f', whole + step), 'PX', math.ceil((whole + step - now) / 1000) + 1)
return 0
"""


class RateLimit:
    """Allows `per_second` requests of each caller on average, and a burst of one second's worth."""

    def __init__(self, states: LiveStates, per_second: float, project: str) -> None:
        self._states = states
        self._step_us = max(1, round(1_000_000 / per_second))
        self._burst_us = max(self._step_us, 1_000_000)
        self._prefix = f"{project}:rate:".encode()

    async def wait_s(self, caller: str) -> float:
        """Return 0 if the caller may send a request now, which then counts; otherwise the seconds to wait.

        Raises UnavailableError without Redis.
        """
        key = self._prefix + caller.encode()
        wait_us = await self._states.run(key, "EVAL", _TAKE, 1, key, self._step_us, self._burst_us)
        return int(wait_us) / 1_000_000
