"""Training: fitting, tuning, calibration, export."""
