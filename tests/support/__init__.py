"""Helpers of the tests: drawn photos, small stores and indexes, commands, servers, and processes that die."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The project's folder."""
