"""The stores of states that a test is run over, and a client of one."""

from typing import Any

import pytest

from features.state.online.access import RedisAccess
from server.process.store import Store

__all__ = ["EVERY_STORE", "client_of"]

EVERY_STORE = pytest.mark.parametrize("states", ["memory", "redis", "cluster"], indirect=True)
"""Runs a test that takes `states` over each implementation; without it, it takes the one in memory."""


def client_of(store: Store) -> Any:
    """A client as a worker has it. One of redis-py's making looks for a dead store for seconds before it says so."""
    return RedisAccess(host=store.host, port=store.port).connect(timeout_s=5.0)
