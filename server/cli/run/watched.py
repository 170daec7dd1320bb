"""Serving the metrics of a part while it works, if the settings name a port."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from server.settings import Settings

if TYPE_CHECKING:
    from server.meters.part import Meters, Part

__all__ = ["watched"]


@contextmanager
def watched(settings: Settings, variable: str, port: int, part: "Part", *more_meters: "Meters") -> Iterator[None]:
    """Serve the metrics of a part while the block runs; without a port the server is not even imported."""
    if not port:
        yield
        return
    from server.api.part_server import part_served  # noqa: PLC0415 - it imports FastAPI

    with part_served(settings, variable, port, part, more_meters):
        yield
