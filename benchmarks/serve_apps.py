"""Servers to compare with Encore's, for `uvicorn --factory serve_apps:NAME`."""

import os
import pickle
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from data.default_shop import SHOP
from server.api.asking import asking_of

__all__ = ["empty", "feast_sdk"]


def empty() -> FastAPI:
    """A FastAPI app that validates the same body and does nothing: the cost of the framework itself."""
    app = FastAPI()

    async def predict(_question: Any) -> dict[str, bool]:
        return {"ok": True}

    predict.__annotations__["_question"] = asking_of(SHOP).body
    app.post("/predict")(predict)
    return app


class Question(BaseModel):
    """A question."""

    user_id: str
    product_id: str
    amount: float


def feast_sdk() -> FastAPI:
    """FastAPI, Feast's SDK over its own Redis store, and a forest of scikit-learn, combined as in their docs."""
    from feast import FeatureStore  # noqa: PLC0415 - takes seconds, not needed by `empty`

    repo = Path(os.environ["BENCH_FEAST_REPO"])
    store = FeatureStore(repo_path=str(repo))
    model: Any = pickle.loads((repo / "model.pickle").read_bytes())
    names = (repo / "features.txt").read_text().split()
    columns = [name.partition(":")[2] for name in names]
    app = FastAPI()

    @app.post("/predict")
    def predict(question: Question) -> dict[str, float]:
        row = {"user_id": question.user_id, "product_id": question.product_id}
        features = store.get_online_features(features=names, entity_rows=[row]).to_df()
        return {"confidence": float(model.predict_proba(features[columns])[0, 1])}

    return app
