"""What training draws from: pairs of volumes, cut into random patches."""
