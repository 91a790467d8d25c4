"""What is made of a packed program is called, in paths."""

UNPACKED = "unpacked"
"""As it would run."""
REMAINS = "memory"
"""As far as it came."""
