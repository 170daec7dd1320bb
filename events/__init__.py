"""Kafka: topics, the producer that fills them, and the stream worker that folds their events into states."""
