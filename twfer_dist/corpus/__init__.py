"""Photographs in: readers of folders, tables and RAF-DB's layout; annotators' votes."""
