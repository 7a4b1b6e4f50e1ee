"""Positions on the globe: distances, areas, circles and countries."""
