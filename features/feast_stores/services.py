"""Feature services as Feast's pages tell of them: which models use one, and what they answer. Feast is not imported."""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Service"]


class Service(NamedTuple):
    """A feature service: its name, what it is for in a sentence, and tags, such as the models that use it."""

    name: str
    description: str = ""
    tags: Mapping[str, str] = {}
