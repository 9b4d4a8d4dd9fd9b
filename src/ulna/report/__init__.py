"""From numbers and figures to one HTML page."""
