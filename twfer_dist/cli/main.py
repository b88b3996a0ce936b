"""The `twfer` command: each command parses, calls one function, prints."""

from twfer_dist.cli import bench, corpus, evaluate, explain, outputs, recipes, track
from twfer_dist.cli.group import main

__all__ = [
    "bench",
    "corpus",
    "evaluate",
    "explain",
    "main",
    "outputs",
    "recipes",
    "track",
]  # importing a module adds its commands
