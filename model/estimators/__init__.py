"""The estimators that can be trained."""
