"""Sorting photos into folders by a path template: the plan."""
