"""The approximate index: an inverted file with 8-bit codes, re-scored exactly."""
