"""The twfer command."""
