"""From examples as of their moment to a model version on disk, and from there to scores."""
