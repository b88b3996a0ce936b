"""Photographs in: readers of folders, CSV manifests and RAF-DB's layout; annotators' votes; clay heads."""
