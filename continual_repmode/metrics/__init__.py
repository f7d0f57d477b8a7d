"""Measures of prediction quality and of learning over a stream."""
