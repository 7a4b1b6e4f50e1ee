"""Fitting and calibrating the decision."""
