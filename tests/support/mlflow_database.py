"""An MLflow database without models: making one takes seconds, copying it none."""

import shutil
from pathlib import Path

from made_once import made_once

__all__ = ["empty_database"]


def empty_database(path: Path) -> None:
    """Put one at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(made_once("mlflow", _make) / "mlflow.db", path)


def _make(folder: Path) -> None:
    from model.registry.mlflow import Tracking  # it imports MLflow when it is used

    tracking = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts")
    with tracking.client(create=True) as client:
        client.search_experiments()
