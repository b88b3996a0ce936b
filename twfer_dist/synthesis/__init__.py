"""Animated faces: GANimation's networks, losses and training, and the Ray Data stage that animates faces."""
