"""Evaluation of models: on test examples, against other models, and on live traffic."""
