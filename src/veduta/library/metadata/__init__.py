"""Names, keywords and positions in XMP sidecars and in photo files."""
