"""The archive of a home's predictions, and the reader that fills it from Kafka."""

from events.predictions.archive import PredictionArchive
from events.predictions.reader import PredictionReader
from server.event_log import open_log
from server.settings import Settings
from server.storage import predictions_storage

__all__ = ["open_archive", "read_predictions"]


def open_archive(settings: Settings) -> PredictionArchive:
    """Return the archive of the home's predictions."""
    schema = settings.declared.schema
    return PredictionArchive(predictions_storage(settings), most_bytes=settings.predictions_bytes, schema=schema)


def read_predictions(settings: Settings, archive: PredictionArchive) -> PredictionReader:
    """Return the reader of the project's predictions. Raises `UnavailableError` without Kafka."""
    return PredictionReader(
        settings.kafka_servers,
        archive,
        topic=settings.kafka_names.predictions,
        access=settings.kafka_access,
        schema=settings.declared.schema,
        suppression=open_log(settings).suppression,
    )
