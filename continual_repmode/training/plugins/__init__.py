"""What a strategy does besides its loop: one plugin per file."""
