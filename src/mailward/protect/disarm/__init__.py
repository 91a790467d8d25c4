"""Documents without what they would run: macros, scripts, embedded objects; the rest stays.

One module for each format, with ``disarm(data) -> Disarmed | None``: None if there is nothing in it
to take out, UnsoundError if it cannot be taken out so that the rest is sure to be harmless and can
be opened. Everything here parses what attackers write, so it runs in a child process that can
neither write, nor start, nor connect to anything (``protect.disarm.child``).
"""
