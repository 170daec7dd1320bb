"""Scoring: reading the entities of a question at one time, and applying the models."""
