"""Measurements of speed and memory; run ``python -m benchmarks --list`` for a list."""
