"""Models as numbers: their scores, and what each feature contributes to a score."""
