"""The `twfer` command: each command parses, calls one function, prints."""

from twfer_dist.cli import annotate, bench, corpus, evaluate, explain, outputs, plan, recipes, track
from twfer_dist.cli.group import main

__all__ = [
    "annotate",
    "bench",
    "corpus",
    "evaluate",
    "explain",
    "main",
    "outputs",
    "plan",
    "recipes",
    "track",
]  # importing a module adds its commands
