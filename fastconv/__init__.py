"""fastconv."""
