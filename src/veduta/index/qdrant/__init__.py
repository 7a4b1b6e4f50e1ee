"""References in a Qdrant: the client, collections, points and the index over them."""
