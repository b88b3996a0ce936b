"""How good a generator is where the truth is known, and on sculpture where it is not."""
