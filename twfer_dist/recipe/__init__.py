"""Recipes: YAML to stages, in order."""
