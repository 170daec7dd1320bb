"""`encore settings`: every setting, with its value here and what it means."""

from typing import Any, NamedTuple

from pydantic import SecretStr
from rich.console import Group, RenderableType

from server.cli.terminal import Json, print_result, words
from server.settings import SECRET, Settings, read_settings

__all__ = ["Setting", "described", "list_settings"]


class Setting(NamedTuple):
    """One setting: its variable, its value and default as texts (empty: none; of a secret only whether it is set)."""

    variable: str
    value: str
    default: str
    is_set: bool
    meaning: str


def described(settings: Settings) -> list[Setting]:
    """Return every setting with its value and meaning, in the order of `Settings`."""
    entries = []
    for name, field in Settings.model_fields.items():
        variable, is_set = str(field.validation_alias), name in settings.model_fields_set
        value = _text(getattr(settings, name))
        if variable in SECRET and value:
            value = "(set)"
        meaning = " ".join((field.description or "").split())
        entries.append(Setting(variable, value, _text(field.default), is_set, meaning))
    return entries


def _text(value: Any) -> str:
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def list_settings(as_json: Json = False) -> None:
    """List all settings: variable, value and meaning. Those that are set are bold; secrets are not shown."""
    entries = described(read_settings())
    lines: list[RenderableType] = []
    for setting in entries:
        lines.append(words(f"{setting.variable}={setting.value}", "bold" if setting.is_set else ""))
        lines.append(words(f"    {setting.meaning}", "dim"))
    print_result([setting._asdict() for setting in entries], as_json, Group(*lines))
