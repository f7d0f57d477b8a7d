"""Volumes: read from files, brought onto the model grid, kept on disk, written."""
