"""Data set to recognisers: ResNet-18, ARM and AU-ResNet, focal losses, training, sweep, prediction."""
