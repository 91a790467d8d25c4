"""The publisher's side of licenses: the keys that sign them, issuing, revoking.

What agents and servers need to check one is ``licensing.json``, signed by the role ``targets``:
changing it takes that role's key, which belongs offline. Issuing takes the license key alone, so
that a shop can do it that can publish nothing.
"""

import csv
import io
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

import structlog
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from pydantic import ValidationError
from securesystemslib.signer import SSlibKey

from mailward.definitions.model import Channel
from mailward.errors import UsageError
from mailward.license import (
    LICENSING_MAX_BYTES,
    LICENSING_PATH,
    LicenseKey,
    Licensing,
    SigningKey,
    Terms,
    issue,
)
from mailward.publish import metadata
from mailward.publish.home import Home, write_in_order
from mailward.publish.metadata import Signed
from mailward.publish.repository import Publisher

ROLE = "license"
"""In the names of key files."""

KEYS_MAX = 20
CSV_MAX_BYTES = 16 * 1024 * 1024
"""Some hundred thousand licenses."""

_KEYID_MIN_DIGITS = 6
_COLUMNS = {"to", "channels", "servers", "from", "until", "id", "warn_days", "grace_days"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What a license is to say; the publisher's name and product come from the repository."""

    licensee: str
    until: date
    """The last day, UTC."""
    channels: tuple[Channel, ...] = tuple(Channel)
    servers: int = 1
    since: date | None = None
    """The first day, UTC; None: today."""
    id: str = ""
    """Empty: made from the date and a random number."""
    warn_days: int = 60
    grace_days: int = 14


def read(home: Home) -> Licensing | None:
    """What is published about licenses; None before ``init``. Raises PublishError."""
    return read_signed(home, Signed.load(home))


def init(publisher: Publisher, name: str, product: str, *, encrypted: bool = False) -> Licensing:
    """Make the key that signs licenses, and publish its public half with the publisher's name.

    Raises UsageError if that was done, PublishError without the key of ``targets``.
    """

    def change(known: Licensing | None) -> Licensing:
        if known is not None:
            raise UsageError(
                f"licenses of {known.publisher} are set up already: `mailward license rotate`"
                " replaces the key"
            )
        new = _new_key(publisher, encrypted)
        return _checked({"publisher": name, "product": product, "keys": (new,)})

    return _publish(publisher, change)


def rotate(publisher: Publisher, *, encrypted: bool = False) -> Licensing:
    """A new key signs from now on. What the old ones signed stays valid until they are dropped."""

    def change(known: Licensing | None) -> Licensing:
        known = _require(known)
        if len(known.keys) >= KEYS_MAX:
            raise UsageError(f"{KEYS_MAX} license keys are named already: drop old ones first")
        old = [_key(each) for each in known.keys]
        like = any(publisher.keyring.is_encrypted(ROLE, key) for key in old)
        new = _new_key(publisher, encrypted or like)
        return _checked(known.model_dump() | {"keys": (*known.keys, new)})

    return _publish(publisher, change)


def drop(publisher: Publisher, keyid: str) -> Licensing:
    """Trust a license key no more: every license that it signed is invalid from now on."""
    gone: list[SSlibKey] = []

    def change(known: Licensing | None) -> Licensing:
        known = _require(known)
        found = [each for each in known.keys if each.keyid.startswith(keyid)]
        if len(keyid) < _KEYID_MIN_DIGITS or len(found) != 1:
            names = ", ".join(each.keyid[:16] for each in known.keys)
            raise UsageError(f"there is no license key {keyid!r}: there are {names}")
        if len(known.keys) == 1:
            raise UsageError("this is the only license key: `mailward license rotate` first")
        gone.append(_key(found[0]))
        keys = tuple(each for each in known.keys if each != found[0])
        return _checked(known.model_dump() | {"keys": keys})

    done = _publish(publisher, change)
    for key in gone:
        publisher.keyring.remove(ROLE, key)
    return done


def revoke(publisher: Publisher, license_id: str, reason: str) -> Licensing:
    """Do not honour a license any more, whatever it says. Agents hear of it at their next check."""
    if not reason.strip():
        raise UsageError("revoking needs a reason: the licensee will read it")

    def change(known: Licensing | None) -> Licensing:
        known = _require(known)
        return _checked(known.model_dump() | {"revoked": {**known.revoked, license_id: reason}})

    return _publish(publisher, change)


def issue_all(
    publisher: Publisher, orders: Sequence[Order], now: datetime
) -> list[tuple[Terms, str]]:
    """Sign licenses with the newest key that is here: all of them, or none.

    Raises UsageError naming the order that is wrong, PublishError without a key, FormatError.
    """
    known = _require(read(publisher.home))
    newest = known.keys[-1]
    private = publisher.keyring.private(ROLE, _key(newest))
    key = SigningKey(
        newest.keyid,
        private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
    )
    terms = [_terms(order, known, now, n) for n, order in enumerate(orders, 1)]
    for license_id, count in Counter(each.jti for each in terms).items():
        if count > 1:
            raise UsageError(f"{count} licenses would have the id {license_id}: give each its own")
    return [(each, issue(each, key)) for each in terms]


def read_orders(raw: bytes) -> list[Order]:
    """Orders from CSV with a header: ``to`` and ``until``, and what else ``Order`` has.

    Raises UsageError, naming the line.
    """
    if len(raw) > CSV_MAX_BYTES:
        raise UsageError(f"the list of licenses has more than {CSV_MAX_BYTES} bytes")
    try:
        rows = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        columns = set(rows.fieldnames or ())
        if not {"to", "until"} <= columns or columns - _COLUMNS:
            raise UsageError(
                "the list of licenses needs the columns to and until, and may have "
                + ", ".join(sorted(_COLUMNS - {"to", "until"}))
            )
        orders = [_order(row, rows.line_num) for row in rows]
    except (UnicodeDecodeError, csv.Error) as e:
        raise UsageError(f"the list of licenses is no CSV in UTF-8: {e}") from e
    if not orders:
        raise UsageError("the list of licenses is empty")
    return orders


def _order(row: Mapping[str | None, str | list[str] | None], line: int) -> Order:
    if None in row or None in row.values():
        raise UsageError(f"line {line}: not as many columns as the header has")
    cells = {str(name): str(value).strip() for name, value in row.items() if value}
    try:
        return Order(
            licensee=cells.get("to", ""),
            until=date.fromisoformat(cells.get("until", "")),
            channels=read_channels(cells.get("channels", "")),
            servers=int(cells.get("servers", "1")),
            since=date.fromisoformat(cells["from"]) if cells.get("from") else None,
            id=cells.get("id", ""),
            warn_days=int(cells.get("warn_days", "60")),
            grace_days=int(cells.get("grace_days", "14")),
        )
    except ValueError as e:
        raise UsageError(f"line {line}: {e}") from e


def read_channels(text: str) -> tuple[Channel, ...]:
    """``certified``, ``rapid`` or both, separated by blanks; empty: both. Raises ValueError."""
    return tuple(dict.fromkeys(Channel(word) for word in text.split())) or tuple(Channel)


def _terms(order: Order, known: Licensing, now: datetime, number: int) -> Terms:
    since = order.since or now.date()
    try:
        # The last day belongs to it: it ends when the next day begins.
        end = int(datetime.combine(order.until, time(), UTC).timestamp()) + 86_400
        return Terms(
            iss=known.publisher,
            sub=order.licensee,
            jti=order.id or f"{now:%Y%m%d}-{secrets.token_hex(4)}",
            product=known.product,
            channels=tuple(channel.value for channel in order.channels),
            servers=order.servers,
            iat=int(now.timestamp()),
            nbf=int(datetime.combine(since, time(), UTC).timestamp()),
            exp=end,
            warn_days=order.warn_days,
            grace_days=order.grace_days,
        )
    except ValidationError as e:
        raise UsageError(f"license {number} ({order.licensee}): {_first(e)}") from None


def read_signed(home: Home, signed: Signed) -> Licensing | None:
    """What ``signed`` says about licenses; None before ``init``. Raises PublishError."""
    if LICENSING_PATH not in signed.targets.signed.targets:
        return None
    return Licensing.from_json(signed.read_target(home, None, LICENSING_PATH))


def _publish(publisher: Publisher, change: Callable[[Licensing | None], Licensing]) -> Licensing:
    with publisher.home.lock():
        signed = Signed.load(publisher.home)
        signing = publisher.signing()
        signing.keyring.signers(signed.trusted("targets"))  # before a key is made in vain
        wanted = change(read_signed(publisher.home, signed))
        raw = wanted.to_json()
        if len(raw) > LICENSING_MAX_BYTES:
            raise UsageError(
                f"{LICENSING_PATH} would have {len(raw)} bytes, agents take at most"
                f" {LICENSING_MAX_BYTES}: drop a key instead of revoking each license"
            )
        write_in_order(metadata.prepare(signing, signed, files={LICENSING_PATH: raw}))
    log.info("licensing published", keys=len(wanted.keys), revoked=len(wanted.revoked))
    return wanted


def _new_key(publisher: Publisher, encrypted: bool) -> LicenseKey:
    public = publisher.keyring.make(ROLE, encrypted=encrypted).public_key
    return LicenseKey(keyid=public.keyid, public=str(public.keyval["public"]))


def _key(each: LicenseKey) -> SSlibKey:
    return SSlibKey(each.keyid, "ed25519", "ed25519", {"public": each.public})


def _require(known: Licensing | None) -> Licensing:
    if known is None:
        raise UsageError("no licenses are set up here: `mailward license init` makes their key")
    return known


def _checked(plain: Mapping[str, object]) -> Licensing:
    try:
        return Licensing.model_validate(plain)
    except ValidationError as e:
        raise UsageError(_first(e)) from None


def _first(e: ValidationError) -> str:
    first = e.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(piece) for piece in first['loc'])}: {first['msg']}"
