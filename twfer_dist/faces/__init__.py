"""Photographs to faces: decoding, detection, cropping, and the Ray Data stage that applies them to a corpus."""
