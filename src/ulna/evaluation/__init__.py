"""From prediction tables to metrics with confidence intervals, comparisons and conclusions."""
