"""The command line: one module per group of commands.

Exit codes: 0 good; 1 a risk was found, or the thing asked about is not so; 2 wrong use or
configuration; 3 temporary failure, worth trying again; 4 permanent failure.
"""

from mailward.cli.app import main

__all__ = ["main"]
