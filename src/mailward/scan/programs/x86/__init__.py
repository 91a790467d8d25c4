"""A small computer for programs of 32-bit Windows, to run what unpacks them.

Blocks of instructions are translated to Python once and kept: ``decoding`` reads them, ``opcodes``
and ``emitter`` write them as Python, ``runtime`` has what is longer than a line. ``machine`` runs
them on a piece of memory of its own; ``windows`` has what is around a program, ``functions`` the
answers to the few calls that unpackers make. Nothing of it is ever run by the processor.
"""
