"""Messages while Mailward is killed and its set swapped: is each where its answer says (S12)?

Postfix's ``smtp-source`` sends over two door processes that share a port; every few seconds one of
them, or one of their workers, gets SIGKILL, and another set is activated. A recorder is the next
hop. ``tests/e2e/no_loss.py`` keeps the account, of each message by its own recipient. Needs
Postfix. 100,000 messages take some seven minutes on two cores.

    python benchmarks/no_loss.py [MESSAGES, else 5,000] [SECONDS between two blows, else 3]
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the servers of the tests

from tests.e2e import no_loss


def main(count: int, kill_every_s: float) -> int:
    if not Path(no_loss.SMTP_SOURCE).exists():
        print("no_loss: skipped: needs smtp-source, which is part of Postfix")
        return 0
    with tempfile.TemporaryDirectory(prefix="mailward-no-loss-") as name:
        folder = Path(name)
        config = no_loss.protected(folder)
        found = asyncio.run(no_loss.account(config, folder, count, kill_every_s))
    accepted, held = found.count(found.taken), found.count(found.held)
    astray = found.astray()
    print(
        f"no_loss: {found.settled} messages answered = {accepted} accepted by the next hop "
        f"+ {held} in quarantine + {found.rejected} rejected; {len(astray)} lost or doubled"
    )
    print(
        f"no_loss: {len(found.unanswered)} more were never answered, "
        f"{sum(n in found.taken or n in found.held for n in found.unanswered)} of which arrived: "
        "their senders would send them again"
    )
    print(
        f"no_loss: {found.kills['door']} processes and {found.kills['worker']} workers killed, "
        f"{found.swaps} sets activated in {found.seconds:.0f} s, "
        f"{found.settled / found.seconds:.0f} messages/s, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for number, wrong in list(astray.items())[:20]:
        print(f"no_loss: {number}: {wrong}")
    return 1 if astray else 0


if __name__ == "__main__":
    numbers = sys.argv[1:3]
    messages = int(numbers[0]) if numbers else 5_000
    sys.exit(main(messages, float(numbers[1]) if len(numbers) > 1 else 3.0))
