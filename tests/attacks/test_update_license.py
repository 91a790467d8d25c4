"""The license goes while an update runs: what has come is kept, and the old set scans on (S10)."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from mailward.definitions.model import Channel
from mailward.publish import licensing, server
from mailward.publish.gate import Gate, Refusal, Visitor
from mailward.publish.licensing import Order
from mailward.publish.repository import Publisher
from mailward.publish.usage import Usage
from tests.attacks.faults import Computer, World


class Revoking(Gate):
    """Revokes a license as soon as its owner has got the first shard."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher.home, Usage(publisher.home.license_usage))
        self._publisher = publisher
        self.given = 0

    def refusal(self, path: str, visitor: Visitor) -> Refusal | None:
        if path.startswith(("objects/", "patches/")):
            if self.given == 1:
                licensing.revoke(self._publisher, "L-1", "not paid")
            self.given += 1
        return super().refusal(path, visitor)


@pytest.mark.usefixtures("quick_trial")
async def test_a_license_gone_in_mid_download(
    computer: Computer, publisher: Publisher, faults_world: World
) -> None:
    licensing.init(publisher, "Example Ltd", "definitions")
    publisher.publish(faults_world.new, license_required=True)
    gate = Revoking(publisher)
    async with server.serving(publisher.home.public, "127.0.0.1", 0, gate=gate) as port:
        computer.address = address = f"http://127.0.0.1:{port}"
        _install(computer, publisher, "L-1")
        await asyncio.to_thread(computer.withstands, "the server answered 403.*not paid")
        assert gate.given >= 2
        with computer.scanning() as scans:
            again = await asyncio.to_thread(computer.refresh)
        computer.kept_scanning(scans)
        assert again.result == "not licensed"
        assert any("not paid" in alert for alert in computer.status()["alerts"])
        _install(computer, publisher, "L-2")
        await asyncio.to_thread(computer.recovers, address)


def _install(computer: Computer, publisher: Publisher, name: str) -> None:
    now = datetime.now(UTC)
    order = Order(
        "Example Hospital",
        now.date() + timedelta(days=300),
        (Channel.RAPID,),
        since=now.date() - timedelta(days=10),
        id=name,
    )
    ((_, token),) = licensing.issue_all(publisher, [order], now)
    installed = computer.config().license_dir / "installed"
    installed.parent.mkdir(exist_ok=True)
    installed.write_text(token)
    installed.chmod(0o600)
