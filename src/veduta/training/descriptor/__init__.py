"""Training of the global descriptor."""
