"""How fast stages are, as ratios measured in one run."""
