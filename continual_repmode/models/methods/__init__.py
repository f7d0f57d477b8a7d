"""The comparing methods of Table 1, one module each, on the shared U-Net."""
