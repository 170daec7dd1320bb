"""Models as numbers: how each scores, and what each feature adds to a score."""
