"""The evidence of an answer: gathered for one photo, and written as a page."""
