"""The Allen Institute's label-free collection: the images the paper learns from."""
