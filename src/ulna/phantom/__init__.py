"""The embedded data set: annotated synthetic radiographs."""
