"""What the channels offer and have offered, read from what is published."""

from mailward.definitions.model import Channel, Current, Manifest, Version
from mailward.errors import FormatError
from mailward.publish.home import Home
from mailward.publish.metadata import Signed

KEPT_SETS = {Channel.RAPID: 24, Channel.CERTIFIED: 14}
"""Sets that a channel goes on naming, and that patches start from: a day of hourly ones, two weeks
of daily ones. Who is further behind fetches whole objects."""


def current_path(channel: Channel) -> str:
    """Signed name of what a channel offers."""
    return f"{channel}/current.json"


def manifest_path(channel: Channel, version: Version) -> str:
    """Signed name of a set's manifest."""
    return f"{channel}/{version}.json"


def current(home: Home, signed: Signed, channel: Channel) -> Current:
    """What a channel offers. Raises PublishError."""
    return Current.from_json(signed.read_target(home, channel, current_path(channel)))


def manifest(home: Home, signed: Signed, channel: Channel, version: Version) -> Manifest:
    """A published set. Raises PublishError."""
    return Manifest.from_json(signed.read_target(home, channel, manifest_path(channel, version)))


def named_versions(signed: Signed, channel: Channel) -> list[Version]:
    """The sets that a channel names, oldest first."""
    found = []
    for path in signed.channels[channel].signed.targets:
        text = path.removeprefix(f"{channel}/").removesuffix(".json")
        try:
            found.append(Version.parse(text))
        except FormatError:
            continue  # current.json
    return sorted(found)


def published_sets(home: Home, signed: Signed) -> list[Manifest]:
    """The manifests of all sets that channels name: what agents may have now."""
    return [
        manifest(home, signed, channel, version)
        for channel in Channel
        for version in named_versions(signed, channel)
    ]


def offered_versions(home: Home, signed: Signed, channel: Channel) -> set[Version]:
    """Every version that a channel offers or offered, as far back as it names them."""
    offer = current(home, signed, channel)
    found = {*named_versions(signed, channel), *map(Version.parse, offer.withdrawn)}
    return found if offer.version is None else {*found, offer.version}


def withdrawn(home: Home, signed: Signed, version: Version) -> str:
    """Why a version must not be used, in a channel's words; empty if it may be."""
    for channel in Channel:
        reason = current(home, signed, channel).withdrawn.get(str(version))
        if reason is not None:
            return f"from {channel}: {reason}"
    return ""
