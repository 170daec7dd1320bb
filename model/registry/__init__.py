"""Versions of models: in MLflow, and published to the server."""
