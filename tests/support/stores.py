"""The stores of states that a test is run over."""

import pytest

__all__ = ["EVERY_STORE"]

EVERY_STORE = pytest.mark.parametrize("states", ["memory", "redis", "cluster"], indirect=True)
"""Runs a test that takes `states` over each implementation; without it, it takes the one in memory."""
