"""Documents in archives, disk images and messages: nothing can be taken out of them there."""

from mailward.protect.disarm.documents import disarm
from mailward.protect.disarm.result import UnsoundError
from mailward.rules import Content
from mailward.scan.budget import Budget
from mailward.scan.kinds import kinds
from mailward.scan.part import Part, Role
from mailward.scan.unpack import parts
from mailward.settings.scan import ScanSettings

_HOLDING = frozenset((Content.ARCHIVE, Content.DISK_IMAGE, Content.MESSAGE, Content.INSTALLER))


def require_nothing_active_inside(data: bytes, name: str, content_type: str) -> None:
    """Raises UnsoundError if one of them would have something taken out of it.

    Texts of messages inside are left to mail clients, which show them as they show any mail.
    """
    role = Role.MESSAGE if content_type.startswith("message/") else Role.ATTACHMENT
    holds: dict[str, bool] = {}
    for part in parts(data, role=role, name=name, budget=Budget(ScanSettings())):
        if not isinstance(part, Part):
            continue
        holds[part.path] = not _HOLDING.isdisjoint(kinds(part))
        if part.parent is None:
            if not holds[part.path]:
                return
        elif part.role in (Role.ATTACHMENT, Role.MEMBER) and holds[part.parent.path]:
            _require_inactive(part)


def _require_inactive(part: Part) -> None:
    try:
        result = disarm(part.data, part.name, part.content_type)
    except UnsoundError as e:
        raise UnsoundError(f"something inside of it that cannot be disarmed: {e}") from None
    if result is not None:
        raise UnsoundError(f"something inside of it with {', '.join(result.removed)}")
