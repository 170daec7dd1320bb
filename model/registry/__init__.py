"""The registry of model versions: in MLflow, and published to the server."""
