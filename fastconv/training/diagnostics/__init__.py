"""What a model and its training look like inside."""
