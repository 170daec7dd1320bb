"""Metrics and liveness of the processes that have no API of their own, for Prometheus and `/health`."""
