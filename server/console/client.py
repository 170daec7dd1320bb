"""The console's client of the API: address, key, timeouts and errors in one place."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import ApiError, EncoreError, UnavailableError

__all__ = ["Api"]

_LONGEST = 32 * 1024 * 1024


class Api:
    """A client of one API.

    Raises `UnavailableError` if it does not answer, or lacks Redis or a model; `ApiError` if it refuses.
    """

    def __init__(self, url: str, *, key: str = "", timeout_s: float = 5.0) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._timeout_s = timeout_s
        # Without the environment's proxy, which is for outside addresses.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Return the JSON answer of a GET; parameters that are None are left out."""
        parameters = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path + ("?" + urllib.parse.urlencode(parameters) if parameters else ""), None)

    def post(self, path: str, body: Any, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the JSON answer of a POST."""
        return self._ask("POST", path, json.dumps(body).encode(), timeout_s)

    def health(self) -> dict[str, Any]:
        """Return the API's health, also when it cannot predict."""
        try:
            return self.get("/health")
        except _NotWellError as error:
            return error.answer

    def features(self, user_id: str, product_id: str | None = None) -> dict[str, Any]:
        """Return the features of a user, and of a product and the pair."""
        return self.get(f"/features/{urllib.parse.quote(user_id, safe='')}", product_id=product_id)

    def predict(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Return one answer."""
        return self.post("/predict", question)

    def predict_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Return answers in order, None for a question without, to at most as many as the API accepts at once."""
        answers: list[dict[str, Any] | None] = self.post("/predict/batch", {"rows": rows}, timeout_s=30)["predictions"]
        return answers

    def what_if(
        self,
        user_id: str,
        product_id: str,
        amount: float | None,
        features: Mapping[str, float | None],
        target: str | None = None,
    ) -> dict[str, Any]:
        """Return a hypothetical answer, with some features' values set by hand."""
        question: dict[str, Any] = {"user_id": user_id, "product_id": product_id, "features": dict(features)}
        question |= {name: value for name, value in (("amount", amount), ("target", target)) if value is not None}
        return self.post("/predict/what-if", question)

    def _ask(self, method: str, target: str, body: bytes | None, timeout_s: float | None = None) -> dict[str, Any]:
        request = urllib.request.Request(self.url + target, body, method=method)  # noqa: S310 - our own address
        request.add_header("Accept", "application/json")
        request.add_header("X-Encore-Origin", "console")  # its questions are no sample of the shop's
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._key:
            request.add_header("X-API-Key", self._key)
        try:
            with self._opener.open(request, timeout=timeout_s or self._timeout_s) as answer:
                content: dict[str, Any] = json.loads(answer.read(_LONGEST))
                return content
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error.code, error.read(_LONGEST)) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise UnavailableError(
                f"The API at {self.url} does not answer ({reason}). Start it with `encore serve`, or everything with "
                "`encore up`; API_HOST and API_PORT say where it is."
            ) from error


class _NotWellError(UnavailableError):
    """The API's 503 from its health route, with the answer."""

    def __init__(self, message: str, answer: dict[str, Any]) -> None:
        super().__init__(message)
        self.answer = answer


def _refusal(status: int, body: bytes) -> EncoreError:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    answer = parsed if isinstance(parsed, dict) else {}
    text = _message(answer) or f"HTTP {status}"
    if status == 503:
        return _NotWellError(text, answer)
    return ApiError(text, status)


def _message(answer: Mapping[str, Any]) -> str:
    """Return the API's message: a text, or a text per field."""
    fields = answer.get("errors") or answer.get("detail")
    if isinstance(fields, list):
        return "; ".join(f"{_path(field)}: {field.get('msg') or field.get('detail')}" for field in fields)
    return str(answer.get("detail") or answer.get("title") or "")


def _path(field: Mapping[str, Any]) -> str:
    """Return a field's path in the request: names and row numbers, without the part (body, query)."""
    loc = field.get("loc") or field.get("pointer") or "request"
    return ".".join(map(str, loc[1:] or loc)) if isinstance(loc, list) else str(loc)
