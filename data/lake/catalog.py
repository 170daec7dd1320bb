"""A catalog of tables of Iceberg, as PyIceberg's own configuration names it."""

from typing import TYPE_CHECKING

from data.errors import MissingExtraError
from data.printable import one_line

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

__all__ = ["open_catalog"]


def open_catalog(name: str) -> "Catalog":
    """Return a catalog. Raises LookupError, which says why it cannot be used, MissingExtraError."""
    try:
        from pyiceberg.catalog import load_catalog  # noqa: PLC0415 - an extra
        from pyiceberg.exceptions import RESTError  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(f"a catalog of Apache Iceberg needs PyIceberg ({error})", "lake") from error
    try:
        return load_catalog(name)
    except (OSError, ValueError, KeyError, RESTError) as error:
        raise LookupError(
            f"cannot be used ({one_line(error)}); PyIceberg looks for it in ~/.pyiceberg.yaml and in the environment"
        ) from error
