"""Numbers to matplotlib axes; imports no torch."""
