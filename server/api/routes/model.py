"""The model: which one answers, and how well it did."""

import msgspec
from fastapi import APIRouter

from data.units import DAY_US
from server.api.parts import PartsDep
from server.api.problems import UNAVAILABLE
from server.api.schemas import ModelInfo, ModelMetrics

__all__ = ["router"]

router = APIRouter(prefix="/model", tags=["model"], responses=UNAVAILABLE)


@router.get("/info")
def info(parts: PartsDep) -> ModelInfo:
    """What is known about the model in use."""
    metadata = parts.models.get().predictor.metadata
    known = msgspec.structs.asdict(metadata)
    known |= {name: msgspec.to_builtins(known[name]) for name in ("metrics", "baselines", "parts")}
    return ModelInfo.model_validate({**known, "horizon_days": metadata.horizon_us / DAY_US})


@router.get("/metrics")
def metrics(parts: PartsDep) -> ModelMetrics:
    """How well the model in use did on later examples than it learned from."""
    metadata = parts.models.get().predictor.metadata
    return ModelMetrics.model_validate(msgspec.to_builtins(metadata), extra="ignore")
