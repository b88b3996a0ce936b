"""Rendered clay heads with known Action Units."""
