"""The API, and the pages of console, Feast and MLflow."""

from typing import Annotated

import typer

from server.cli.terminal import log_to_stderr, settings_in_home

__all__ = ["console", "mlflow_ui", "serve", "ui"]


def serve(workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1) -> None:
    """Run the API until Ctrl-C."""
    from server.api.serving import serve_api  # noqa: PLC0415

    serve_api(settings_in_home("serve"), workers)


def ui() -> None:
    """Run the Feast UI until Ctrl-C."""
    from server.api.feast_ui import serve_feast_ui  # noqa: PLC0415

    serve_feast_ui(settings_in_home("ui"))


def console() -> None:
    """Run the console, a web page to watch, ask, compare and decide, until Ctrl-C."""
    from server.console.launch import run_console  # noqa: PLC0415

    settings = settings_in_home("console")
    log_to_stderr(settings)
    run_console(settings)


def mlflow_ui() -> None:
    """Run MLflow's own pages over the registered models, for this machine alone, until Ctrl-C."""
    from server.api.mlflow_ui import run_mlflow  # noqa: PLC0415

    run_mlflow(settings_in_home("mlflow"))
