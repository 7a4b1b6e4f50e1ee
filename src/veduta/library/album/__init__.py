"""The album: one HTML page of a library's landmarks, map and timeline."""
