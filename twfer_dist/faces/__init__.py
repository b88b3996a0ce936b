"""Photographs to faces: decoding, detection, cropping, and the Ray Data stage that does it to a corpus."""
