"""Faces and animated faces to a data set: balanced selection, splits, leakage check, and its images in batches."""
