"""From prediction tables to numbers with intervals. Nothing here knows that a network exists."""
