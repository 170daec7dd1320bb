"""Owners of Spark's checkpoints: one counts the offsets of one topic, and would skip those of another."""

from typing import Any

from data.errors import ConfigurationError
from features.batch.spark.session import literal

__all__ = ["claim_checkpoint"]

_MARK = "encore-topic"


def claim_checkpoint(session: Any, checkpoint: str, name: str, topic: bytes) -> None:
    """Record beside a new checkpoint which topic it is of, by name and id; `checkpoint` is an address that Spark takes.

    Raises ConfigurationError, which names the other, where it is another topic's, or another program's.
    """
    recorded = _text(session, f"{checkpoint}/{_MARK}")
    if not recorded:
        if _text(session, f"{checkpoint}/metadata"):
            raise ConfigurationError(f"{checkpoint}: this checkpoint is of another program; give --checkpoint another")
        marked = session.createDataFrame([(f"{name} {topic.hex()}",)], "value string")
        marked.coalesce(1).write.mode("overwrite").text(f"{checkpoint}/{_MARK}")
        return
    other, _, id_ = recorded.partition(" ")
    if (other, id_) != (name, topic.hex()):
        same = "made anew since" if other == name else f"and not of {name}"
        raise ConfigurationError(
            f"{checkpoint}: this checkpoint is of the topic {other} with the id {id_}, {same}; its offsets mean "
            "nothing here. Delete it, or give --checkpoint another place: what is folded is known without it"
        )


def _text(session: Any, path: str) -> str:
    """Return the first line of a text that Spark has written; empty where there is none."""
    from pyspark.errors import AnalysisException  # noqa: PLC0415 - an extra

    try:
        rows = session.read.text(literal(path)).head(1)
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return ""
    return str(rows[0][0]) if rows else ""
