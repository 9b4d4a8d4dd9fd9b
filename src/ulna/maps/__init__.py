"""Where a network looks, and whether that may be shown."""
