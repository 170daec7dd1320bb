"""Deleting the data of a person, as `encore forget` does."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from data.errors import CommandError
from server.api.asgi.guard import admins_only
from server.api.parts import PartsDep
from server.api.problems import BAD_REQUEST, UNAVAILABLE, Problem, refuse_unknown_query
from server.audit_log.changes import Asker
from server.process.command import ExitCode

__all__ = ["router"]

router = APIRouter(tags=["privacy"], responses=BAD_REQUEST, dependencies=[Depends(refuse_unknown_query)])


class Forget(BaseModel):
    """Whom to forget, by a key of the events, and for how many days to refuse what arrives of them."""

    model_config = ConfigDict(extra="forbid")

    person: dict[str, str] = Field(min_length=1, max_length=1, examples=[{"user_id": "u17"}])
    refuse_days: int = Field(30, ge=0, le=36_500)


class LearnedModel(BaseModel):
    """A model that learned from the person's events or, where its examples are a sample, may have."""

    target: str
    version: str
    sampled: bool


class TopicLeft(BaseModel):
    """A topic: letters deleted, whether compaction will remove the key, when retention has dropped the rest."""

    topic: str
    removed: int
    marked: bool
    gone_by: str = Field(description="RFC 3339; empty: its retention drops nothing")


class ForgetReceipt(BaseModel):
    """What was done. `remade` are the states of others that the events were in; `left` is what could not be removed."""

    person: dict[str, str]
    at: str
    refused_until: str
    known: bool
    events: int
    log_files: int
    states: dict[str, int]
    remade: dict[str, int]
    predictions: int
    dead_letters: int
    models: list[LearnedModel]
    topics: list[TopicLeft]
    left: list[str]


_REFUSALS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "A key with the role `admin` is needed"},
    409: {"model": Problem, "description": "It cannot be done now, or names no key of the events; says why"},
    **UNAVAILABLE,
}


@router.post("/privacy/forget", responses=_REFUSALS)
async def forget(asked: Forget, parts: PartsDep, by: Annotated[Asker, Depends(admins_only)]) -> ForgetReceipt:
    """Remove all that is known of a person, and refuse what arrives of them for a while.

    Asked again, it finishes what was interrupted.
    """
    [(key, value)] = asked.person.items()
    command = ["forget", "--refuse-days", str(asked.refuse_days)]
    try:
        receipt = await run_in_threadpool(parts.model_work.run, command, f"{key}={value}", by=by)
    except CommandError as error:
        raise HTTPException(409 if error.exit_code == ExitCode.REFUSED else 503, str(error)) from error
    return ForgetReceipt(**receipt)
