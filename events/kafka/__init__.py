"""Kafka: access, topics, consumer, sender, dead letters, read-only inspection."""
