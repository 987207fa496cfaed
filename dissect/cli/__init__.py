"""The command line: `commands` says which there are, the other files what each group of them does."""

from dissect.cli.commands import main

__all__ = ["main"]
