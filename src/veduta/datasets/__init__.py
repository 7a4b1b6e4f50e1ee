"""Readers of labeled photos: folders, tables, and the Google Landmarks Dataset v2."""
