"""ClamAV's text signatures on Vectorscan: what they say, what they match, how they are prepared.

A signature travels as the line of text that it is. ``pattern`` and its neighbours read it,
``anchors`` picks the rarest fixed piece that anything it matches must have, and the engine
(``mailward.scan.engines.signatures``) looks for all pieces at once and verifies the whole
signature where one was hit. ``docs/signatures.md`` says what is supported.
"""
