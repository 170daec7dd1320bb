"""A trained model as files, and the predictor that scores with it."""
