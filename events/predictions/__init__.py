"""Predictions on their way through Kafka into an archive."""
