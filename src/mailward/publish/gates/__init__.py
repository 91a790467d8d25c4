"""The gates that a set passes before it is offered: one file each.

A gate takes a ``base.Subject`` and gives a ``Gate`` that says what it tested, or ``NotRun``. It
never says passed without having run. ``mailward.publish.quality`` is the list of them.
"""
