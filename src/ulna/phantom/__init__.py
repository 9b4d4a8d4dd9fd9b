"""The embedded data set: synthetic radiographs with known truth."""
