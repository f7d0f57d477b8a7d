"""Where volumes come from and how they reach the network."""
