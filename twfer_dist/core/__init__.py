"""What every room shares: words, schemas, geometry, statistics."""
