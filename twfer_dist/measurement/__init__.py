"""68 points and 17 Action Units of a face: network, training, evaluation."""
