"""From a held message to its recipient: notification, link, page, button, delivery."""

import asyncio
import re
import urllib.request
from email import policy as email_policy
from email.parser import BytesParser
from pathlib import Path

import aiosmtplib

from mailward.config import Config
from mailward.console import recipients
from mailward.console.health import Health
from mailward.console.listener import Listener
from mailward.doors.smtp import Gateway
from mailward.doors.testing import FakeHop
from mailward.protect.events import Event
from mailward.protect.quarantine import Quarantine
from mailward.testing import Attachment, encrypted_zip, message
from tests.doors.test_disarmed import RealScanner


async def test_a_recipient_hears_of_a_held_message_asks_for_it_and_gets_it(tmp_path: Path) -> None:
    events: list[Event] = []
    async with FakeHop() as hop:
        config = Config.model_validate(
            {
                "state_dir": tmp_path,
                "smtp": {"listen": "127.0.0.1:0", "next_hop": hop.address, "hostname": "mx.test"},
                "policy": {
                    "internal": [],
                    "rules": [
                        {
                            "name": "locked",
                            "when": {"unscannable": ["encrypted"]},
                            "action": "quarantine",
                            "notify": ["recipients"],
                        }
                    ],
                },
                "notify": {"public_url": "https://mail.example.org", "on_request": "release"},
                "console": {"listen": "127.0.0.1:0"},
            }
        )
        quarantine = Quarantine(config.quarantine_dir, config.quarantine)
        listener = Listener(
            config.console,
            lambda: Health(True, {}),
            lambda: b"",
            recipients.asking(config, quarantine, None, events.append),
        )
        await listener.start()
        locked = message(Attachment("a.zip", encrypted_zip(Attachment("b.txt", b"hello"))))
        scanner = RealScanner(tmp_path)
        async with recipients.notifier(config, events.append) as tells:
            gateway = Gateway(config.smtp, config.policy, scanner, quarantine, notify=tells)
            await gateway.start()
            async with aiosmtplib.SMTP(hostname="127.0.0.1", port=gateway.port) as client:
                await client.sendmail("a@example.org", ["b@example.net", "c@example.net"], locked)
            await gateway.stop(1.0)
        (held,) = quarantine.ids()
        notified = {taken.recipients[0]: taken.content for taken in hop.messages}
        note = BytesParser(policy=email_policy.SMTP).parsebytes(notified["TO:<c@example.net>"])
        link = re.search(r"https://mail\.example\.org(/q/\S+)", note.get_content())
        assert link is not None

        def open_(method: str) -> str:
            address = f"http://127.0.0.1:{listener.port}{link[1]}"
            request = urllib.request.Request(address, method=method)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return str(answer.read().decode())

        hop.messages.clear()
        assert "it cannot be scanned (encrypted)" in await asyncio.to_thread(open_, "GET")
        assert hop.messages == []
        assert "on its way" in await asyncio.to_thread(open_, "POST")
        await listener.stop()

        (delivered,) = hop.messages
    assert delivered.recipients == ("TO:<c@example.net>",)
    assert delivered.content.endswith(locked)
    assert quarantine.get(held).envelope.recipients == ("b@example.net",)
    assert [e.event for e in events] == ["notified", "notified", "requested", "released"]
