"""Model routes: the model in use, versions, live quality, and changes of aliases."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, HTTPException, Path
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from data.errors import CommandError, EncoreError, ModelError, UnavailableError, UnknownVersionError
from data.units import DAY_US
from model.artifact.metadata import Metadata
from model.registry.published import CHALLENGER, CHAMPION
from server.api.asgi.guard import operators_only
from server.api.parts import Parts, PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, Problem, refuse_unknown_query
from server.api.schemas import ModelInfo, ModelMetrics
from server.audit_log.changes import Asker
from server.process.command import ExitCode

__all__ = ["router"]

router = APIRouter(tags=["models"], responses=BAD_REQUEST, dependencies=[Depends(refuse_unknown_query)])

Numbers = dict[str, float | None]


class VersionSummary(BaseModel):
    """A version in short."""

    version: str = Field(examples=["20261121-030405-ab12cd"])
    created: str
    aliases: list[Literal["champion", "challenger"]]
    estimator: str
    feature_plan: str
    rows: int = Field(description="examples that it learned from")
    threshold: float
    metrics: Numbers = Field(description="on its test, later than all that it learned from")


class TargetModels(BaseModel):
    """A target's models, oldest version first. `challenger_share` is the share of users whom the challenger answers."""

    target: str = Field(examples=["repeat_purchase"])
    champion: str | None
    challenger: str | None
    challenger_share: float
    versions: list[VersionSummary]


class ModelList(BaseModel):
    """Every target that has a model here."""

    targets: list[TargetModels]


class ModelReport(BaseModel):
    """Everything known about a version: `report` is its metadata as training wrote it."""

    target: str
    version: str
    aliases: list[Literal["champion", "challenger"]]
    report: dict[str, Any]


class Promotion(BaseModel):
    """A version, and the alias that it gets."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(min_length=1, max_length=64, description="its name or number, or an alias")
    alias: Literal["champion", "challenger"] = CHAMPION  # type: ignore[assignment]
    share: float = Field(0.0, ge=0, le=1, description="challenger: the part of users whom it answers")


class Retraining(BaseModel):
    """Whether to retrain only where there is a reason."""

    model_config = ConfigDict(extra="forbid")

    if_needed: bool = False


class AliasChange(BaseModel):
    """An alias that moved to another version; an empty name is none."""

    target: str
    alias: str
    before: str
    after: str
    share: float


class RetrainingState(BaseModel):
    """How the last retraining went: null where there was none."""

    target: str
    report: dict[str, Any] | None


class QualityReport(BaseModel):
    """The last results, target by target, and the command that makes new ones.

    `report` is null where there are none.
    """

    report: list[dict[str, Any]] | None
    hint: str


_TARGET = Path(pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=["repeat_purchase"])
_Target = Annotated[str, _TARGET]
_NOT_THERE: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such model"}}
_By = Annotated[Asker, Depends(operators_only)]
"""The operator who makes a change."""

_CHANGES: dict[int | str, dict[str, Any]] = {
    **_NOT_THERE,
    403: {"model": Problem, "description": "A key with the role `operate` is needed"},
    409: {"model": Problem, "description": "It cannot be done now; says why"},
    503: {"model": Problem, "description": "MLflow is not there, or the work failed; says which"},
}


@router.get("/model/info", responses=UNAVAILABLE)
def info(parts: PartsDep) -> ModelInfo:
    """What is known about the model in use."""
    metadata = parts.models.get().predictor.metadata
    return ModelInfo.model_validate(
        {**msgspec.to_builtins(metadata), "horizon_days": metadata.horizon_us / DAY_US}, extra="ignore"
    )


@router.get("/model/metrics", responses=UNAVAILABLE)
def metrics(parts: PartsDep) -> ModelMetrics:
    """Metrics of the model in use, on examples later than those it learned from."""
    metadata = parts.models.get().predictor.metadata
    return ModelMetrics.model_validate(msgspec.to_builtins(metadata), extra="ignore")


@router.get("/models")
def models(parts: PartsDep) -> ModelList:
    """The versions of every target published here, their aliases and their test metrics."""
    return ModelList(targets=[_target(parts, target) for target in parts.registry.targets()])


@router.get("/models/{target}/retrain", responses=BAD_REQUEST)
def retraining(target: _Target, parts: PartsDep) -> RetrainingState:
    """What the last retraining of a target is doing or found."""
    return RetrainingState(target=target, report=parts.model_work.report(f"retrain-{target}"))


@router.get("/models/{target}/{version}", responses=_NOT_THERE | BAD_REQUEST)
def model_report(target: _Target, version: str, parts: PartsDep) -> ModelReport:
    """The full report of a version, by its name or an alias."""
    try:
        metadata = parts.registry.metadata(target, version)
    except (ModelError, UnavailableError) as error:
        raise HTTPException(404, str(error)) from error
    report = msgspec.to_builtins(metadata)
    return ModelReport(
        target=target, version=metadata.version, aliases=_aliases(parts, target, metadata.version), report=report
    )


@router.post("/models/{target}/promote", responses=_CHANGES | BAD_REQUEST)
async def promote(target: _Target, asked: Promotion, parts: PartsDep, by: _By) -> AliasChange:
    """Make a version champion or challenger, as `encore model promote` does."""
    command = ["promote", "--as", asked.alias]
    if asked.alias == CHALLENGER:
        command += ["--share", f"{asked.share:g}"]
    return await _change(parts, by, target, command, asked.version)


@router.post("/models/{target}/rollback", responses=_CHANGES)
async def rollback(target: _Target, parts: PartsDep, by: _By) -> AliasChange:
    """Make the champion before the present one champion again, as `encore model rollback` does."""
    return await _change(parts, by, target, ["rollback"])


@router.post("/models/{target}/withdraw", responses=_CHANGES)
async def withdraw(target: _Target, parts: PartsDep, by: _By) -> AliasChange:
    """End the challenger's trial, as `encore model withdraw` does."""
    return await _change(parts, by, target, ["withdraw"])


@router.post("/models/{target}/retrain", status_code=202, responses=_CHANGES | BAD_REQUEST)
async def retrain(target: _Target, asked: Retraining, parts: PartsDep, by: _By) -> RetrainingState:
    """Begin to retrain, as `encore retrain` does; GET this address to see how it goes."""
    if target not in await run_in_threadpool(parts.registry.targets):
        raise HTTPException(404, f"there is no model of {target} to retrain; `encore train` makes the first")
    if not parts.model_work.start_retraining(target, if_needed=asked.if_needed, by=by):
        raise HTTPException(409, f"a model is being retrained already, and {target} would be the second")
    return RetrainingState(target=target, report=parts.model_work.report(f"retrain-{target}"))


@router.get("/quality/live")
def live_quality(parts: PartsDep) -> QualityReport:
    """How the models did on predictions whose answer is known by now, when that was last looked at."""
    return QualityReport(report=parts.model_work.report("live"), hint="`encore evaluate-live` looks anew")


@router.get("/quality/drift")
def drift(parts: PartsDep) -> QualityReport:
    """How far the features of recent predictions lie from what the champion learned from (PSI)."""
    return QualityReport(report=parts.model_work.report("drift"), hint="`encore evaluate-live` looks anew")


async def _change(parts: Parts, by: Asker, target: str, command: list[str], *arguments: str) -> AliasChange:
    work = parts.model_work
    try:
        change = await run_in_threadpool(work.run, ["model", *command, "--target", target], *arguments, by=by)
    except CommandError as error:
        refusal_status = 404 if error.kind == UnknownVersionError.__name__ else 409
        raise HTTPException(refusal_status if error.exit_code == ExitCode.REFUSED else 503, str(error)) from error
    return AliasChange(**change)


def _target(parts: Parts, target: str) -> TargetModels:
    (champion, _), (challenger, share) = (_alias(parts, target, alias) for alias in (CHAMPION, CHALLENGER))
    versions = []
    for version in parts.registry.versions(target):
        try:
            versions.append(_summary(parts, parts.registry.metadata(target, version)))
        except EncoreError:  # damaged: the server refuses it too, and logs why
            continue
    return TargetModels(
        target=target, champion=champion, challenger=challenger, challenger_share=share, versions=versions
    )


def _summary(parts: Parts, metadata: Metadata) -> VersionSummary:
    return VersionSummary(
        version=metadata.version,
        created=metadata.created.isoformat(),
        aliases=_aliases(parts, metadata.target, metadata.version),
        estimator=metadata.estimator,
        feature_plan=metadata.feature_plan,
        rows=metadata.parts["train"].rows if "train" in metadata.parts else metadata.examples,
        threshold=metadata.threshold,
        metrics=msgspec.to_builtins(metadata.metrics["test"]) if "test" in metadata.metrics else {},
    )


def _aliases(parts: Parts, target: str, version: str) -> list[Any]:
    return [alias for alias in (CHAMPION, CHALLENGER) if _alias(parts, target, alias)[0] == version]


def _alias(parts: Parts, target: str, alias: str) -> tuple[str | None, float]:
    try:
        return parts.registry.resolve_share(target, alias)
    except EncoreError:
        return None, 0.0
