"""All messages of the SpamAssassin corpus through the gateway to a real Postfix, and without it.

Needs Postfix, root, and the collection of real mail beside the project.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA = PROJECT.parent / "shared" / "data"
CLIENTS = 10
sys.path.insert(0, str(PROJECT))  # the Postfix of the tests

from tests.e2e import postfix, through  # noqa: E402 (needs the path)


def main() -> None:
    reason = postfix.why_not() or ("" if DATA.is_dir() else f"needs the data collection at {DATA}")
    if reason:
        print(f"gateway: skipped: {reason}")
        return
    messages = through.corpus(DATA) + through.samples()
    with postfix.running() as mailbox, tempfile.TemporaryDirectory() as folder:
        config = through.protected(Path(folder), f"127.0.0.1:{mailbox.port}")
        account = through.account(config, mailbox, messages, CLIENTS)
    with postfix.running() as mailbox:
        began = time.perf_counter()
        asyncio.run(through.send_all(mailbox.port, messages, CLIENTS))
        direct_s = time.perf_counter() - began
    rate, direct = account.sent / account.seconds, account.sent / direct_s
    print(
        f"gateway: {account.sent} sent = {account.delivered} delivered + {account.rejected} "
        f"rejected + {account.quarantined} quarantined; {len(account.astray)} astray, "
        f"{len(account.changed)} bodies changed; answers {dict(account.answers)}"
    )
    print(
        f"gateway: {rate:.0f} messages/s with {CLIENTS} clients and {config.scan.workers} workers "
        f"in {account.seconds:.1f} s (start and end of the workers included); "
        f"Postfix alone {direct:.0f}/s; ratio {rate / direct:.2f}"
    )


if __name__ == "__main__":
    main()
