"""From numbers to matplotlib figures; nothing is computed here."""
