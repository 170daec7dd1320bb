"""Verification that every path gives the values that Featuretools gives."""
