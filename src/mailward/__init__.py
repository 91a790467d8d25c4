"""Mailward guards mail servers with definitions that keep themselves current.

1. Upstream *feeds* are read by the **publish** package, which builds *shards* and a *manifest*.
2. Gates test that *definition set*; what passes is signed into a *channel*: rapid or certified.
3. The *repository* is static files under The Update Framework; any web server can carry it.
4. On a protected computer the **update** agent fetches what is new and checks every byte of it.
5. A *trial* in a child process prepares the set with the real engines and proves it with probes.
6. Only then does the **definitions** store activate it, by one atomic rename.
7. Workers of the **scan** package swap to it between two messages.
8. A **door** takes a message; **scan** takes it apart, runs the engines and gives a *verdict*.
9. **protect** decides by policy what happens: deliver, tag, quarantine or reject.
10. Whatever fails on the way, the active set goes on scanning and no mail is lost.
"""

__version__ = "0.1.0"
