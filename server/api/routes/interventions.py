"""The table of interventions: what is done about a cart at which risk, and whether its effect was measured."""

from typing import Any

import msgspec
from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from model.interventions import Basis, RiskLevel
from server.api.parts import PartsDep
from server.api.problems import BAD_REQUEST, refuse_unknown_query

__all__ = ["router"]

router = APIRouter(tags=["predict"], responses=BAD_REQUEST, dependencies=[Depends(refuse_unknown_query)])


class Rule(BaseModel):
    """What is done from a probability of abandonment on."""

    risk_level: RiskLevel
    from_probability: float
    intervention: str
    rescued: float = Field(description="the share of lost carts that it rescues")
    basis: Basis = Field(description="`assumed`: nobody has measured it; `measured`: from an A/B log")
    rescued_interval: tuple[float, float] | None = Field(description="95 % interval where measured")
    discount: float = Field(description="share of the amount")
    margin: float = Field(description="share of the amount")


class Interventions(BaseModel):
    """The rules by rising probability, and the report of the A/B log that measured them; null without one."""

    rules: list[Rule]
    report: dict[str, Any] | None
    hint: str


@router.get("/interventions")
def interventions(parts: PartsDep) -> Interventions:
    """What is recommended about carts that may be abandoned, and what that is known from."""
    table = parts.interventions
    return Interventions(
        rules=[Rule(**msgspec.to_builtins(rule), basis=rule.basis) for rule in table.rules],
        report=None if table.report is None else msgspec.to_builtins(table.report),
        hint="`encore uplift FILE --map MAPPING` measures them with an A/B log",
    )
