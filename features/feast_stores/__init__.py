"""Feast's three extension points: offline store, online store and compute engine."""
