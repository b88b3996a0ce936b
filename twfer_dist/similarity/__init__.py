"""How alike faces are: embeddings, mean similarity within and between corpora, near-duplicates, and a map."""

MAP = "map.html"
"""The map in the output of a similarity stage."""
