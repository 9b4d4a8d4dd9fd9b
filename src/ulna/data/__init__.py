"""From files to cached pixels: index, splits, decoding, the cache."""
