"""What every room shares: taxonomy, schemas, statuses, geometry, images and statistics."""
