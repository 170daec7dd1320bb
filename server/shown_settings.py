"""Settings that may be shown, and the secrets that may not."""

from pydantic import SecretStr

from server.settings import SECRET, Settings

__all__ = ["public_settings", "secret_settings", "secrets_that_are_set"]

_HANDED_ON = {"ENCORE_HOME", "ENCORE_SHARED_METERS", "ENCORE_BEAT", "ENCORE_ASKED_BY"}
"""Variables that Encore's processes pass to each other, and the home's folder."""


def secret_settings(settings: Settings) -> list[str]:
    """Return the values of secret settings."""
    values = (getattr(settings, name) for name in Settings.model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr) and value]


def public_settings(settings: Settings) -> dict[str, str]:
    """Return, by variable, the settings that differ from their defaults, without secrets and what processes pass on."""
    shown_values = {}
    for name, field in Settings.model_fields.items():
        value, variable = getattr(settings, name), str(field.validation_alias)
        if variable not in SECRET | _HANDED_ON and value != field.get_default(call_default_factory=True):
            shown_values[variable] = str(value)
    return shown_values


def secrets_that_are_set(settings: Settings) -> list[str]:
    """Return the variables of the secrets that have a value."""
    set_variables = {str(Settings.model_fields[name].validation_alias) for name in settings.model_fields_set}
    return sorted(SECRET & set_variables)
