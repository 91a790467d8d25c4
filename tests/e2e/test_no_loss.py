"""Nothing is lost or doubled, whatever is killed; ``benchmarks/no_loss.py`` does it at length."""

from pathlib import Path

import pytest

from tests.e2e import no_loss

pytestmark = pytest.mark.real


async def test_every_message_is_where_its_answer_says_whatever_is_killed(tmp_path: Path) -> None:
    if not Path(no_loss.SMTP_SOURCE).exists():
        pytest.skip("needs smtp-source, which is part of Postfix")
    config = no_loss.protected(tmp_path)

    account = await no_loss.account(config, tmp_path, count=600, kill_every_s=0.5)

    assert account.astray() == {}
    assert account.settled >= 600
    assert account.count(account.taken) + account.count(account.held) + account.rejected == (
        account.settled
    )
    assert min(account.rejected, account.count(account.held), account.count(account.taken)) > 0
    assert account.had_trouble
