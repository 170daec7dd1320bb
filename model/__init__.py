"""Models: from point-in-time examples to a model version on disk, and to scores."""
