"""How many examples Hypothesis looks at: a part of them in `make test`, all in `make test-all`.

`THOROUGH` is that part, which Make sets; `THOROUGH=20 make test` looks at twenty times as many. Without it, all.
"""

import math
import os

from hypothesis import HealthCheck, settings

__all__ = ["BY_DEFAULT", "THOROUGH", "examples", "so_many"]

THOROUGH = float(os.environ.get("THOROUGH", "1"))

BY_DEFAULT = 100
"""Of a test that does not say how many: Hypothesis' own number."""

_LEAST = 3


def so_many(number: int) -> int:
    """The examples to look at where all of them are `number`."""
    return max(math.ceil(number * THOROUGH), min(number, _LEAST))


def examples(number: int) -> settings:
    """So many examples, each as slow as it must be; fixtures are shared by all of them."""
    fine = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=so_many(number), deadline=None, suppress_health_check=fine)
