"""What a Prometheus knows of the past, and which of its alerts fire, by its HTTP interface."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from data.errors import UnavailableError
from data.units import MICROS

__all__ = ["Prometheus"]

_LONGEST = 32 * 1024 * 1024


class Prometheus:
    """One Prometheus. Every method raises UnavailableError where it does not answer, or not as itself."""

    def __init__(self, url: str, *, timeout_s: float = 1.5) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        # Without the environment's proxy, which is for outside addresses.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def over_time(self, query: str, since_us: int, until_us: int, step_s: int) -> dict[str, dict[int, float]]:
        """Return a query's values by time (UTC µs), by the values of the labels that the query leaves, with commas."""
        found = self._ask(
            "query_range", query=query, start=since_us / MICROS, end=until_us / MICROS, step=max(1, step_s)
        )
        series: dict[str, dict[int, float]] = {}
        for one in found["result"]:
            label = ", ".join(value for name, value in sorted(one["metric"].items()) if name != "__name__")
            values = {round(at * MICROS): float(value) for at, value in one["values"]}
            series[label] = {at: value for at, value in values.items() if math.isfinite(value)}
        return series

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {one["labels"]["alertname"] for one in self._ask("alerts")["alerts"] if one["state"] == "firing"}

    def _ask(self, what: str, **query: Any) -> Any:
        target = f"{self._url}/api/v1/{what}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with self._opener.open(target, timeout=self._timeout_s) as answer:
                return json.loads(answer.read(_LONGEST))["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                f"Prometheus at {self._url} does not answer ({getattr(error, 'reason', error)}); look whether it runs, "
                "and at PROMETHEUS_URL"
            ) from error
