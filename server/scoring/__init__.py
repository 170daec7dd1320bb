"""Answering a question: the entities of it at one time, the models, the scores."""
