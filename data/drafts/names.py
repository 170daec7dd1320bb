"""Names that a schema accepts, made from the names of a file's columns."""

import re
import unicodedata
from collections.abc import Collection

from data.schema import is_name

__all__ = ["name_of"]

_LONGEST = 40


def name_of(text: str, taken: Collection[str] = (), *, instead: str = "column") -> str:
    """Return a name of a-z, 0-9 and _ for a text, not in `taken`; `instead` replaces a text without any of these."""
    spelled = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower().replace("ß", "ss")
    plain = unicodedata.normalize("NFKD", spelled).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_LONGEST].strip("_") or instead
    if not name[0].isalpha():
        name = f"{instead}_{name}"
    name = next((candidate for candidate in (name, f"{instead}_{name}") if is_name(candidate)), f"column_{name}")
    number = 2
    unique = name
    while unique in taken:
        unique = f"{name}_{number}"
        number += 1
    return unique
