"""Predictions to answers: tables with intervals, baselines, groups, and one HTML report."""
