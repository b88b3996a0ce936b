"""How alike faces are: embeddings, mean similarity within and between corpora, near-duplicates, and a map."""

MAP, PICTURE = "map.html", "map.jpg"
"""The map in the output of a similarity stage, as a page and as a picture."""
