"""The available estimators."""
