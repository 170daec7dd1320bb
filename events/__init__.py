"""Kafka: the topics, the producer that fills them, and the stream worker that folds them into states."""
