"""From prediction tables to metrics with confidence intervals, calibration, comparisons and conclusions."""
