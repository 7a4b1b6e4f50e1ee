"""Veduta names the landmark in a photo, shows the evidence, and says so when it knows none."""

__version__ = "0.1.0"
