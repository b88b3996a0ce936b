"""How good a generator is where the truth is known."""
