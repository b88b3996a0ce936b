"""The `twfer` command: each command parses, calls one function, prints."""

from twfer_dist.cli import bench, corpus, evaluate, explain, outputs, recipes
from twfer_dist.cli.group import main

__all__ = [
    "bench",
    "corpus",
    "evaluate",
    "explain",
    "main",
    "outputs",
    "recipes",
]  # importing a module adds its commands
