"""Read expressions in sculpted faces, from a folder of photographs to a study, on Ray."""

__version__ = "0.2.0"
