"""Reads run folders: tables, continual-learning scores and figures."""
