"""The command line: one command is one call of the library, with the same names and defaults."""

from veduta.cli.app import app
from veduta.cli.entry import main

__all__ = ["app", "main"]
