"""The Spark session: the one that the process already has, else a new one, quiet and on loopback."""

import re
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from data.errors import ConfigurationError, MissingExtraError
from features.batch.spark.java import check_java

__all__ = ["SparkConnection", "is_running", "literal", "reason_of"]

_QUIET = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}

_ANY_PYTHON = "python3"
"""The Python of executors where none is configured."""

_LOOPBACK = {"spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1"}

_EXACT = {"spark.sql.ansi.enabled": "true", "spark.sql.session.timeZone": "UTC"}
"""Options that make an overflow an error; by default Spark returns null or a wrong number."""


class SparkConnection:
    """A Spark session with views and SQL options of its own.

    `close` stops Spark only if this started it, with `options`. Spark reads all others from its
    spark-defaults.conf.
    """

    def __init__(self, master: str, options: Mapping[str, str] | None = None) -> None:
        try:
            from pyspark import SparkContext  # noqa: PLC0415 - an extra, which few need
            from pyspark.sql import SparkSession  # noqa: PLC0415 - the same
        except ImportError as error:
            raise MissingExtraError(
                "Spark: pyspark is not installed", "spark", instead="or set ENCORE_BATCH=duckdb"
            ) from error
        self._ours = SparkContext._active_spark_context is None  # noqa: SLF001 - a session is per thread, this is not
        if self._ours:
            _start(master, options or {})
            _silence()
        self.session: Any = SparkSession.builder.getOrCreate().newSession()
        for name, value in _EXACT.items():
            self.session.conf.set(name, value)

    def close(self) -> None:
        """Stop Spark if this started it; its idle Java ends with the process."""
        if self._ours:
            self.session.stop()


def _start(master: str, extra: Mapping[str, str]) -> None:
    from py4j.protocol import Py4JError  # noqa: PLC0415 - the extra
    from pyspark import SparkConf, SparkContext  # noqa: PLC0415 - the extra
    from pyspark.errors import PySparkException  # noqa: PLC0415 - the extra
    from pyspark.java_gateway import launch_gateway  # noqa: PLC0415 - the extra

    options = {"spark.master": master, "spark.app.name": "encore", **_QUIET, **_EXACT, **extra}
    if master.startswith("local"):
        options |= _LOOPBACK
    conf = SparkConf().setAll(list(options.items()))
    gateway: Any = SparkContext._gateway  # noqa: SLF001 - the Java that an earlier session left, named nowhere else
    with tempfile.TemporaryFile() as output:
        try:
            if gateway is None:
                check_java("Spark")
                # Java writes warnings to the terminal before it reads any option; they matter only if it fails.
                gateway = launch_gateway(conf, {"stdout": output, "stderr": output})
            context = SparkContext(conf=conf, gateway=gateway)
            if context.pythonExec == _ANY_PYTHON:
                # On this machine's executors too; a cluster's own is named by spark.pyspark.python or PYSPARK_PYTHON.
                context.pythonExec = conf.get("spark.pyspark.python", sys.executable)
        except (Py4JError, PySparkException) as error:
            output.seek(0)
            reason = reason_of(f"{error}\n{output.read().decode(errors='replace')}")
            raise ConfigurationError(f"Spark: it did not start with the master {master!r}: {reason}") from error


def _silence() -> None:
    """Suppress the pages of Java stack that Spark's Python side prints before it raises an error."""
    from pyspark.logger import PySparkLogger  # noqa: PLC0415 - the extra

    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).disabled = True


def is_running() -> bool:
    """Return whether the process has a Spark session, which `SparkConnection` would use as it is."""
    try:
        from pyspark import SparkContext  # noqa: PLC0415 - the extra
    except ImportError:
        return False
    return SparkContext._active_spark_context is not None  # noqa: SLF001 - as above


def literal(path: str) -> str:
    """Return a path that Hadoop takes for no pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


def reason_of(text: str) -> str:
    """Return the line of a Java failure that states its cause; of an error of ours, its message."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if ours := [line for line in lines if line.startswith("data.errors.")]:
        return ours[-1].partition(": ")[2]
    with_cause = [line for line in lines if "Exception: " in line or "Error: " in line]
    return (with_cause or lines)[0].lstrip(": ")
