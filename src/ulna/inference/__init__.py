"""Predict with a bundle: without TensorFlow, pandas, DVC; what `pip install .` brings suffices."""
