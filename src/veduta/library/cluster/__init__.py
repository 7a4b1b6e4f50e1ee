"""Grouping the photos of a library that show the same place."""
