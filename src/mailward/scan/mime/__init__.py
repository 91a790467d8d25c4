"""MIME (RFC 2045 to 2049) as mail clients read it, and they differ.

``heads`` says what an entity's header may mean, ``fields`` what a value may mean, ``sections``
where parts begin and end; ``walk`` goes through all of that, once per reading
(``docs/decisions/readings.md``).
"""
