"""MLflow's own pages over the models of a home, on this machine only.

The full MLflow needs older libraries than Encore, so `uv` runs it in an environment of its own (fetched once), in the
version of Encore's MLflow client, since both use the same database.
"""

import importlib.util
import os
import sys
from importlib.metadata import version

from data.errors import ConfigurationError, MissingExtraError
from model.registry.local_database import local_database
from server.process.server_process import LOOPBACK, require_free_port
from server.settings import Settings, environment_of, keep_libraries_quiet

__all__ = ["run_mlflow"]


def run_mlflow(settings: Settings) -> None:
    """Replace this process by MLflow's server at `settings.mlflow_port`; does not return.

    It listens on loopback only, since anybody who reaches the port may change aliases, and so the model in use.

    Raises ConfigurationError if the models are at a tracking server, which has pages of its own, if there are no models
    yet, if the port is taken, or if the extra `mlflow` is not installed.
    """
    uri = settings.tracking_uri
    if uri.startswith(("http://", "https://")):
        raise ConfigurationError("mlflow: MLFLOW_TRACKING_URI names a tracking server, which shows its own pages")
    database = local_database(uri)
    if database is not None and not database.exists():
        raise ConfigurationError(f"mlflow: {database} is not there; the first `encore train` makes it")
    if importlib.util.find_spec("uv") is None:
        raise MissingExtraError("mlflow: there is no uv here to fetch MLflow", "mlflow")
    from uv import find_uv_bin  # noqa: PLC0415 - an extra

    require_free_port("MLflow (MLFLOW_PORT)", LOOPBACK, settings.mlflow_port)
    keep_libraries_quiet()
    hosts = f"localhost:{settings.mlflow_port},{LOOPBACK}:{settings.mlflow_port}"
    command = [
        *(find_uv_bin(), "tool", "run", "--python", sys.executable, "--from", f"mlflow=={version('mlflow-skinny')}"),
        *("mlflow", "server", "--host", LOOPBACK, "--port", str(settings.mlflow_port), "--workers", "1"),
        *("--allowed-hosts", hosts, "--no-serve-artifacts"),
    ]
    # In the environment, not the arguments, which every user of the machine can read: the URI may hold a password.
    # Jobs are for judges and prompts, which Encore has none of: eight processes that start, and end, slowly.
    chosen = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(command[0], command, environment_of(settings) | chosen)  # noqa: S606 - ours
