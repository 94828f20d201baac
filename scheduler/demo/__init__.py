"""A business to look at before one's own is connected."""
