"""Scoring: the entities of a question at one time, the models, the scores."""
