"""Models as plain numbers: their scores, and each feature's contribution to a score."""
