"""Helpers of the tests: drawn photos, small stores and indexes, commands, servers, and processes that die."""
