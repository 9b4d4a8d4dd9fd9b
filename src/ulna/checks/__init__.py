"""Checks for what could make good numbers false: anomalies, duplicates, leaks, shortcuts."""
