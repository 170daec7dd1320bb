"""The audit log's route: who changed what, for administrators alone."""

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from server.api.asgi.guard import admins_only
from server.api.parts import PartsDep
from server.api.problems import BAD_REQUEST, Problem, refuse_unknown_query

__all__ = ["router"]

router = APIRouter(tags=["operation"], dependencies=[Depends(refuse_unknown_query), Depends(admins_only)])


class Moved(BaseModel):
    """One thing, before and after; null where there was none."""

    before: str | None
    after: str | None


class Change(BaseModel):
    """One change: who made it, by which command, through which route of the API, and what differed after it."""

    id: str
    at: str = Field(description="when it began", examples=["2026-11-26T12:00:00.000000+00:00"])
    who: str = Field(examples=["key boss", "oidc:alice", "encore"])
    what: str = Field(examples=["encore model promote"])
    through: str = Field("", examples=["POST /models/{target}/promote"])
    given: dict[str, str] = Field({}, description="what the command was given, without secrets")
    state: Literal["begun", "done", "refused", "failed", "interrupted"] = Field(
        "begun", description="`begun`: it goes on, or was killed"
    )
    seconds: float | None = None
    changed: dict[str, Moved] = {}
    noted: dict[str, str] = {}
    error: str = ""


class Changes(BaseModel):
    """The last changes, the oldest first; `unreadable` lines of the log are left out."""

    entries: list[Change]
    unreadable: int


@router.get(
    "/audit-log", responses=BAD_REQUEST | {403: {"model": Problem, "description": "The role `admin` is needed"}}
)
def audit_log(parts: PartsDep, last: Annotated[int, Query(ge=1, le=1000)] = 100) -> Changes:
    """Who changed what of this home, as `encore audit-log` shows."""
    log = parts.audit_log.read(last)
    return Changes(entries=[Change(**msgspec.to_builtins(entry)) for entry in log.entries], unreadable=log.unreadable)
