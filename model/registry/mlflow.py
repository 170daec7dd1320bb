"""The model registry in MLflow: runs, versions and aliases, the source of truth for every trained model.

There is one registered model per target; one run per training, with its parameters, metrics and files; one version per
run, tagged with Encore's own name and the SHA-256 of its files. The server's published models are copied from here.
"""

import json
import logging
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from data.errors import ConfigurationError, ModelError, UnknownVersionError
from model.artifact.artifact import Artifact, read_artifact, write_artifact
from model.registry.local_database import LocalDatabase, local_database
from model.registry.published import CHALLENGER, CHAMPION
from model.registry.version import SHA_TAG, SHARE_TAG, VERSION_TAG, ModelNames, ModelVersion

__all__ = ["Tracking"]

_OURS = ModelNames()
_ARTIFACTS = "model"
_HISTORY_TAG = "encore.champions"
_REMEMBERED = 50
_USER_INFO = re.compile(r"//[^/@]*@")


class Tracking:
    """MLflow under one tracking URI. Constructing it accesses nothing.

    `artifacts` is the folder for files of a local database, by default beside it; a tracking server stores files
    itself, and has the project's models under `names`. `patience_s` is the time limit for a locked local database. A
    local database is read directly; writing, or using a server, imports MLflow, which takes seconds.

    Every method raises `ConfigurationError`, in one line, if MLflow's store is missing, locked or does not answer, and
    `ModelError` for a version that does not exist.
    """

    def __init__(
        self, uri: str, artifacts: Path | None = None, *, patience_s: float = 5.0, names: ModelNames = _OURS
    ) -> None:
        self._uri = uri
        self.place = _USER_INFO.sub("//", uri)
        """The URI without credentials."""
        database = local_database(uri)
        self._local = None if database is None else LocalDatabase(database, artifacts, patience_s)
        self._names = names if self._local is None else _OURS
        self._opened: Any = None

    def exists(self) -> bool:
        """Return whether there is a store; false for a local database whose file does not exist."""
        return self._local is None or self._local.path.exists()

    def register(self, artifact: Artifact, files: Sequence[Path] = ()) -> ModelVersion:
        """Log a training as a run and create its version, all or nothing. `files` are stored beside the model.

        No alias moves.
        """
        metadata = artifact.metadata
        name = self._names.of(metadata.target)
        with self.client(create=True) as client:
            run_id = client.create_run(self._experiment(client), run_name=metadata.version).info.run_id
            try:
                self._log(client, run_id, artifact, files)
                client.set_terminated(run_id)
                self._ensure_model(client, name)
                number = client.create_model_version(
                    name,
                    source=f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACTS}",
                    run_id=run_id,
                    tags={VERSION_TAG: metadata.version, SHA_TAG: artifact.sha256},
                ).version
            except BaseException:
                client.delete_run(run_id)
                raise
            return self._version(client, client.get_model_version(name, str(number)))

    def targets(self) -> list[str]:
        """Return the registered models that Encore trained, by name."""
        if self._local is not None:
            return sorted({version.target for version in self._local.versions()})
        with self.client() as client:
            targets = {self._names.target(registered.name) for registered in self._search(client, "")}
            return sorted(target for target in targets if target is not None)

    def versions(self, target: str) -> list[ModelVersion]:
        """Return a target's versions, oldest first."""
        if not target.isidentifier():  # since it becomes part of a filter
            raise ModelError(f"model registry: {target!r} is not the name of a target")
        if self._local is not None:
            return self._local.versions(target)
        with self.client() as client:
            name = self._names.of(target)
            numbers = sorted(int(version.version) for version in self._search(client, f"name = '{name}'"))
            return [self._version(client, client.get_model_version(name, str(number))) for number in numbers]

    def find(self, target: str, name: str) -> ModelVersion:
        """Return a version by its number, its name or an alias.

        Raises `UnknownVersionError`, naming the newest versions.
        """
        versions = self.versions(target)
        for version in versions:
            if name in (str(version.number), version.name, *version.aliases):
                return version
        newest = ", ".join(f"{version.number} ({version.name})" for version in versions[-5:]) or "none"
        raise UnknownVersionError(f"model {target}: there is no version {name!r}; there are: {newest}")

    def alias(self, target: str, alias: str) -> ModelVersion | None:
        """Return the version with an alias; None if there is none."""
        if self._local is not None:
            return next((version for version in self._local.versions(target) if alias in version.aliases), None)
        with self.client() as client:
            name = self._names.of(target)
            number = self._aliases(client, name).get(alias)
            return None if number is None else self._version(client, client.get_model_version(name, str(number)))

    def set_alias(self, version: ModelVersion, alias: str, *, share: float = 0.0) -> None:
        """Give a version an alias. A new champion is recorded; `share` is the challenger's share of users, 0 to 1."""
        name = self._names.of(version.target)
        with self.client() as client:
            if alias == CHAMPION:
                self._store_history(client, name, [*self._history(client, name), version.number])
            if alias == CHALLENGER:
                client.set_registered_model_tag(name, SHARE_TAG, f"{share:g}")
            client.set_registered_model_alias(name, alias, str(version.number))

    def remove_alias(self, target: str, alias: str) -> None:
        """Remove an alias if a version has it."""
        name = self._names.of(target)
        with self.client() as client:
            if alias in self._aliases(client, name):
                client.delete_registered_model_alias(name, alias)

    def share(self, target: str) -> float:
        """Return the challenger's share of users, 0 to 1; at 0 it scores in the shadow."""
        if self._local is not None:
            text = self._local.share(target)
        else:
            with self.client() as client:
                text = client.get_registered_model(self._names.of(target)).tags.get(SHARE_TAG)
        try:
            return min(1.0, max(0.0, float(text or 0)))
        except ValueError:
            return 0.0

    def roll_back(self, target: str) -> ModelVersion:
        """Make the previous champion champion again. Raises `ModelError` if there is none."""
        name = self._names.of(target)
        with self.client() as client:
            history = self._history(client, name)
            existing = {int(version.version) for version in self._search(client, f"name = '{name}'")}
            present = history.pop() if history else None
            while history and (history[-1] not in existing or history[-1] == present):
                history.pop()
            if not history:
                raise ModelError(f"model {target}: no champion before the present one is known; promote a version")
            self._store_history(client, name, history)
            client.set_registered_model_alias(name, CHAMPION, str(history[-1]))
            return self._version(client, client.get_model_version(name, str(history[-1])))

    def delete(self, version: ModelVersion) -> None:
        """Delete a version and its run; files on a server are left to `mlflow gc`."""
        with self.client() as client:
            client.delete_model_version(self._names.of(version.target), str(version.number))
            client.delete_run(version.run_id)
        if self._local is not None:
            shutil.rmtree(self._local.artifacts / version.run_id, ignore_errors=True)

    def champions(self, target: str) -> list[int]:
        """Return the numbers of all champions so far, oldest first."""
        with self.client() as client:
            return self._history(client, self._names.of(target))

    def artifact(self, version: ModelVersion) -> Artifact:
        """Return a version's model, with its hash verified against its own metadata and MLflow's tag."""
        with self.client() as client, TemporaryDirectory() as scratch:
            artifact = read_artifact(Path(client.download_artifacts(version.run_id, _ARTIFACTS, scratch)))
        metadata = artifact.metadata
        if not version.vouches_for(artifact):
            raise ModelError(
                f"model {version.target} {version.name}: the sha256 of its files is {artifact.sha256}, MLflow's "
                f"registry says {version.sha256}; promote another version, or train again"
            )
        for what, stored, registered in (
            ("target", metadata.target, version.target),
            ("version", metadata.version, version.name),
        ):
            if stored != registered:
                raise ModelError(
                    f"model {version.target} {version.name}: the {what} in its files is {stored}, MLflow's registry "
                    f"says {registered}; promote another version, or train again"
                )
        return artifact

    @contextmanager
    def client(self, *, create: bool = False) -> Iterator[Any]:
        """Yield MLflow's client, converting its errors to ConfigurationError."""
        uri = self._uri
        if self._opened is None and self._local is not None:
            uri = self._local.prepare(create=create)
        try:
            if self._opened is None:
                self._opened = _client(uri)
            yield self._opened
        except (sqlite3.Error, OSError) as error:
            raise ConfigurationError(f"MLflow at {self.place}: {error}") from error
        except Exception as error:
            if type(error).__module__.split(".")[0] not in {"mlflow", "sqlalchemy", "alembic", "requests"}:
                raise
            message = _USER_INFO.sub("//", " ".join(str(error).split()))[:300]
            raise ConfigurationError(f"MLflow at {self.place}: {message}; see MLFLOW_TRACKING_URI") from error

    def _experiment(self, client: Any) -> str:
        experiment = client.get_experiment_by_name(self._names.project)
        if experiment is not None:
            return str(experiment.experiment_id)
        place = None if self._local is None else self._local.artifacts.absolute().as_uri()
        return str(client.create_experiment(self._names.project, artifact_location=place))

    def _log(self, client: Any, run_id: str, artifact: Artifact, files: Sequence[Path]) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 - it takes seconds

        metadata = artifact.metadata
        now_ms = int(metadata.created.timestamp() * 1000)
        fields = msgspec.to_builtins(metadata)
        plain = {name: value for name, value in fields.items() if isinstance(value, str | int | float)}
        parameters = {**plain, **{f"estimator.{name}": value for name, value in metadata.parameters.items()}}
        numbers = dict(_numbers("", {**fields["metrics"], "baseline": fields["baselines"]}))
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now_ms, 0) for name, value in numbers.items()],
            params=[Param(name, str(value)[:500]) for name, value in parameters.items()],
            tags=[RunTag("encore.target", metadata.target), RunTag(VERSION_TAG, metadata.version)],
        )
        with TemporaryDirectory() as scratch:
            folder = Path(scratch) / _ARTIFACTS
            write_artifact(folder, artifact)
            client.log_artifacts(run_id, str(folder), _ARTIFACTS)
        for file in files:
            client.log_artifact(run_id, str(file), "report")

    @staticmethod
    def _ensure_model(client: Any, name: str) -> None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - it takes seconds

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @staticmethod
    def _search(client: Any, where: str) -> list[Any]:
        """Return the versions that Encore registered."""
        versions: list[Any] = []
        page = None
        while True:
            batch = client.search_model_versions(where or None, page_token=page)
            versions += (version for version in batch if VERSION_TAG in version.tags)
            page = batch.token
            if not page:
                return versions

    @staticmethod
    def _aliases(client: Any, name: str) -> dict[str, int]:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - it takes seconds

        try:
            aliases = client.get_registered_model(name).aliases
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return {}
            raise
        return {alias: int(number) for alias, number in aliases.items()}

    def _history(self, client: Any, name: str) -> list[int]:
        """Return the numbers of the champions so far, the present one last, wherever it was promoted."""
        present = self._aliases(client, name).get(CHAMPION)
        tags = client.get_registered_model(name).tags if present is not None else {}
        try:
            history = [int(number) for number in json.loads(tags.get(_HISTORY_TAG, "[]"))]
        except (ValueError, TypeError):
            history = []
        return history if present is None or history[-1:] == [present] else [*history, present]

    @staticmethod
    def _store_history(client: Any, name: str, history: list[int]) -> None:
        client.set_registered_model_tag(name, _HISTORY_TAG, json.dumps(history[-_REMEMBERED:]))

    def _version(self, client: Any, registered: Any) -> ModelVersion:
        data = client.get_run(registered.run_id).data
        return ModelVersion(
            target=self._names.target(registered.name) or registered.name,
            number=int(registered.version),
            name=registered.tags.get(VERSION_TAG, ""),
            run_id=registered.run_id,
            created=datetime.fromtimestamp(registered.creation_timestamp / 1000, UTC),
            aliases=tuple(sorted(registered.aliases)),
            metrics=data.metrics,
            parameters=data.params,
            sha256=registered.tags.get(SHA_TAG, ""),
        )


def _client(uri: str) -> Any:
    import mlflow  # noqa: PLC0415 - it takes seconds

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    variables = mlflow.environment_variables
    variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    if not variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():  # the default of seven retries takes minutes
        variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(2)
    return mlflow.MlflowClient(uri, uri)


def _numbers(prefix: str, tree: Any) -> Iterator[tuple[str, float]]:
    """Yield the numbers in nested maps, named by their dotted paths."""
    if isinstance(tree, Mapping):
        for name, value in tree.items():
            yield from _numbers(f"{prefix}.{name}" if prefix else str(name), value)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield prefix, float(tree)
