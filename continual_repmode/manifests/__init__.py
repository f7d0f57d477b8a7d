"""Manifests: which images belong together, checked and prepared for training."""
