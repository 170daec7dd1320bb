"""Random lengths of waits, so that processes that wait for the same thing do not all come back at once."""

import secrets

__all__ = ["jitter"]

# Not the generator of `random`, which programs and tests seed: threads draw from this one at any time.
_system = secrets.SystemRandom()


def jitter(low: float, high: float) -> float:
    """Return a number between `low` and `high`."""
    return _system.uniform(low, high)
