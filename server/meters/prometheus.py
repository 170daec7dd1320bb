"""Past values and firing alerts of a Prometheus server, by its HTTP interface."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from data.errors import UnavailableError
from data.units import MICROS

__all__ = ["Prometheus"]

_MAX_BYTES = 32 * 1024 * 1024


class Prometheus:
    """A Prometheus server. Every method raises UnavailableError if it does not answer, or not as Prometheus does."""

    def __init__(self, url: str, *, timeout_s: float = 1.5) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        # Bypasses the environment's proxy, which is meant for external addresses.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def over_time(self, query: str, since_us: int, until_us: int, step_s: int) -> dict[str, dict[int, float]]:
        """Return a query's values by time (UTC µs), for each series by its remaining label values, comma-separated."""
        data = self._ask(
            "query_range", query=query, start=since_us / MICROS, end=until_us / MICROS, step=max(1, step_s)
        )
        series: dict[str, dict[int, float]] = {}
        for result in data["result"]:
            label = ", ".join(value for name, value in sorted(result["metric"].items()) if name != "__name__")
            values = {round(at * MICROS): float(value) for at, value in result["values"]}
            series[label] = {at: value for at, value in values.items() if math.isfinite(value)}
        return series

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"] if alert["state"] == "firing"}

    def _ask(self, what: str, **query: Any) -> Any:
        target = f"{self._url}/api/v1/{what}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        try:
            with self._opener.open(target, timeout=self._timeout_s) as answer:
                return json.loads(answer.read(_MAX_BYTES))["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UnavailableError(
                f"Prometheus at {self._url} does not answer ({getattr(error, 'reason', error)}); look whether it runs, "
                "and at PROMETHEUS_URL"
            ) from error
