"""What the data check measures on voxels and how it judges and tells it."""
