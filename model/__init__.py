"""Models: training from point-in-time examples, model versions on disk, and scoring."""
