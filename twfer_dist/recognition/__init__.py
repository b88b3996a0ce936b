"""Data set to recognisers: ResNet-18 and ARM, focal losses, training, sweep, prediction."""
