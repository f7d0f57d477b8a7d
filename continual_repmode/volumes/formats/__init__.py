"""Readers and writers of image files, one module per format."""
