"""The folder of a small project: a library, whose readers borrow."""

from pathlib import Path

__all__ = ["SCHEMA", "TARGETS_PY", "make"]

SCHEMA = """\
from data.schema import Entity, EventType, Schema

SHOP = Schema(
    types=(EventType("loan"),), keys=("reader",), ordered_by="reader", entities=(Entity("reader", ("reader",)),),
    asks=("reader",),
)
"""
TARGETS_PY = """\
from .schema import SHOP
from model.targets import Target

TARGETS = [Target("again", ("loan",), "loan", 1_000_000, "loans again", entity=SHOP.entities[0].name)]
"""


def make(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    texts = {
        "encore.toml": 'version = 1\nname = "library"\n',
        "schema.py": SCHEMA,
        "features.py": "WINDOWS = {}\n\n\ndef define(shop):\n    return []\n",
        "targets.py": TARGETS_PY,
    }
    for name, text in (texts | {name.replace("_", "."): text for name, text in files.items()}).items():
        (folder / name).write_text(text)
    return folder
