"""What a model's answer rests on: places in the picture, Action Units, and a check where the truth is known."""
