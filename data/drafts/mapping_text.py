"""The parts of a mapping's text that drafts have in common: how a file is read, and its times."""

import re

import msgspec

from data.drafts.roles import Roles
from data.importers.mapping import FileOptions

__all__ = ["file_lines", "time_lines", "toml_key", "toml_text"]


def file_lines(options: FileOptions) -> list[str]:
    """Return the lines of `[file]`."""
    default = FileOptions()
    changed = {
        field: getattr(options, field)
        for field in FileOptions.__struct_fields__
        if getattr(options, field) != getattr(default, field)
    }
    return ["[file]", *(f"{key} = {toml_text(value)}" for key, value in changed.items()), ""] if changed else []


def time_lines(roles: Roles) -> list[str]:
    """Return the lines of `[time]`."""
    if roles.time is None:
        return ["[time]", 'value = "NULL"  # which column is the time?', ""]
    forms = roles.time.forms
    hint = "  # both read the sample: keep the one that is meant" if len(forms) > 1 else ""
    lines = ["[time]", f"value = {toml_text(roles.time.value)}", f"formats = {toml_text(forms)}{hint}"]
    if not roles.time.has_zone:
        lines.append('zone = "UTC"  # of times without one: the shop\'s, such as Europe/Paris')
    return [*lines, ""]


def toml_text(value: object) -> str:
    """Return a text, a number or texts as TOML.

    JSON's strings are TOML's but for DEL; a text with double quotes alone is put between single ones.
    """
    if isinstance(value, str) and '"' in value and "'" not in value and value.isprintable():
        return f"'{value}'"
    return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")


def toml_key(name: str) -> str:
    """Return a name as a key of TOML."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_text(name)
