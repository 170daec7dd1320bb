"""Examples for training and evaluation: questions with their times and labels."""
