"""Names of networks and metrics as readers know them, and the networks' colours."""

from ulna.judging.names import BASELINES, METRICS, NAMES, NETWORKS, NOTES

__all__ = [
    "BASELINES",
    "METRICS",
    "NAMES",
    "NETWORKS",
    "NETWORK_COLOURS",
    "NETWORK_MARKERS",
    "NOTES",
]

# Okabe and Ito's vermilion and blue.
NETWORK_COLOURS = {"cnn": "#D55E00", "densenet169": "#0072B2"}
NETWORK_MARKERS = {"cnn": "o", "densenet169": "s"}
