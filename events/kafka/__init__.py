"""Kafka: the way in, topics, reading, sending, dead letters, looking without touching."""
