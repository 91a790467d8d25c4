"""publisher.toml: what it says, and what it may not say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner, Result

from mailward.cli.repo import app
from mailward.errors import ConfigError, FetchError, UsageError
from mailward.publish import publisher_config
from mailward.publish.feeds import FeedSpec, Fetching
from mailward.publish.feeds.hashes import Columns
from mailward.publish.home import Home
from mailward.publish.publisher_config import PublisherConfig, find, load

_DOCS = Path(__file__).resolve().parents[2] / "docs"

WHOLE = """
keys = ["/media/rapid-key", "more"]

[feeds.starter]
kind = "starter"

[feeds.abuse]
kind = "hashes"
place = "https://lists.example.org/export"
suffix = ".csv"
columns = { digest = "sha256", name = "malware_family", size = "size" }
max_shrink = 0.3

[feeds.rules]
kind = "yara"
place = "rules"

[fetch]
total_timeout_s = 60
max_bytes = 1000000

[gates]
max_share = 5
known_good = ["mail", "/srv/documents"]

[schedule]
rapid_every = "5 min"

[channels.certified]
license_required = true
rollout_hours = 12
"""


def _load(tmp_path: Path, text: str | bytes) -> PublisherConfig:
    path = tmp_path / "publisher.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(path)


def test_all_of_it_is_read(tmp_path: Path) -> None:
    config = _load(tmp_path, WHOLE)
    assert config.feed_specs == [
        FeedSpec("starter", "starter", ""),
        FeedSpec(
            "hashes",
            "abuse",
            "https://lists.example.org/export",
            Columns("sha256", "size", "malware_family"),
            ".csv",
            0.3,
        ),
        FeedSpec("yara", "rules", str(tmp_path / "rules")),
    ]
    assert config.fetching == Fetching(total_timeout_s=60, max_bytes=1_000_000)
    assert config.keys == (Path("/media/rapid-key"), tmp_path / "more")
    assert config.gates.known_good == (tmp_path / "mail", Path("/srv/documents"))
    assert (config.gates.min_share, config.gates.max_share) == (0.5, 5)
    assert (config.schedule.rapid_every, config.schedule.certified) == (
        "5 min",
        "daily at 03:30",
    )
    assert config.channels.certified.license_required
    assert config.channels.certified.rollout_hours == 12
    assert not config.channels.rapid.license_required


def test_without_one_there_are_defaults(tmp_path: Path) -> None:
    assert find(tmp_path) == PublisherConfig()
    assert _load(tmp_path, "") == PublisherConfig()
    assert PublisherConfig().feed_specs == []
    assert PublisherConfig().fetching == Fetching()


def test_it_is_frozen(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        _load(tmp_path, WHOLE).gates.min_share = 0.1  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[feeds.a]\nplace = 'x'", r"feeds\.a\.kind: Field required"),
        ("[feeds.a]\nkind = 'suricata'\nplace = 'x'", r"feeds\.a\.kind"),
        ("[feeds.a]\nkind = 'yara'", r"feeds\.a: .*every feed but starter has one"),
        ("[feeds.a]\nkind = 'starter'\nplace = 'x'", r"feeds\.a: .*starter has none"),
        ("[feeds.a]\nkind = 'starter'\n[feeds.b]\nkind = 'starter'", "one starter feed"),
        ("[feeds.a]\nkind = 'yara'\nplace = 'x'\ncolumns = {digest='a'}", "only feeds of the kind"),
        ("[feeds.a]\nkind = 'hashes'\nplace = 'x'\ncolumns = {name='a'}", r"columns\.digest"),
        ("[feeds.a]\nkind = 'hashes'\nplace = 'x'\nmax_shrink = 1.5", r"feeds\.a\.max_shrink"),
        ("[feeds.a]\nkind = 'hashes'\nplace = 'x'\nsuffix = '../x'", r"feeds\.a\.suffix"),
        ("[feeds.a]\nkind = 'hashes'\nplace = 'ftp://x/y'", "expected a path, or an https://"),
        ("[feeds.'../up']\nkind = 'yara'\nplace = 'x'", "feeds"),
        ("[feeds.a]\nkind = 'yara'\nplace = 'x'\nshrink = 1", r"feeds\.a\.shrink: Extra inputs"),
        ("[fetch]\ntimeout_s = 0", r"fetch\.timeout_s"),
        ("[fetch]\nmax_bytes = 99999999999999", r"fetch\.max_bytes"),
        ("[gates]\nmin_share = -1", r"gates\.min_share"),
        ("[channels.daily]", r"channels\.daily: Extra"),
        ("[channels.rapid]\nrollout_hours = -1", "rollout_hours"),
        ("[schedule]\nrapid_every = 15", r"schedule\.rapid_every"),
        ("keys = 'k'", "keys"),
        ("shedule = 1", "shedule: Extra inputs"),
        ("a = [", "not valid TOML"),
        ("a = " + "[" * 100_000, "not valid TOML"),
        (b"a = '\xff'", "not valid TOML"),
        (b"\0", "not valid TOML"),
        (b"#" * (2 << 20), "more than"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        _load(tmp_path, text)
    assert "publisher.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "publisher.toml")


def _keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if name == "feeds":
            kind, prefix_here = publisher_config.FeedSettings, "feeds.NAME."
        else:
            prefix_here = f"{prefix}{name}."
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _keys(kind, prefix_here)
        else:
            found.add(f"{prefix}{name}")
    return found


def test_every_key_is_documented_and_no_other() -> None:
    text = (_DOCS / "publishing.md").read_text(encoding="utf-8")
    section = text.partition("\n## publisher.toml\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([a-zA-Z_.]+)` \|.*\|.*\|$", section, re.MULTILINE)
    assert sorted(documented) == sorted(_keys(PublisherConfig))


def test_the_documented_example_can_be_loaded(tmp_path: Path) -> None:
    text = (_DOCS / "publishing.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert _load(tmp_path, example).feed_specs


# --- the command ----------------------------------------------------------------------------------


def _run(*words: object) -> Result:
    return CliRunner().invoke(app, ["build", *(str(word) for word in words)])


@pytest.fixture
def listed(home: Home) -> Callable[[int], None]:
    """A publisher.toml with a list of that many hashes."""
    (home.folder / "publisher.toml").write_text(
        '[feeds.own]\nkind = "hashes"\nplace = "list.txt"\n'
    )

    def write(count: int) -> None:
        lines = (f"{n:032x}:5:Test\n" for n in range(count))
        (home.folder / "list.txt").write_text("".join(lines))

    return write


def test_the_feeds_of_publisher_toml_are_built(home: Home, listed: Callable[[int], None]) -> None:
    listed(30)
    plain = json.loads(_run("--repo", home.folder, "--json").stdout)
    assert "hashes/own.txt" in [shard["name"] for shard in plain["shards"]]
    assert plain["feeds"] == [
        {"name": "own", "signatures": 30, "versions": {}, "kept": "", "remarks": []}
    ]


def test_a_feed_that_fails_is_named_and_the_set_is_built_without_its_change(
    home: Home, listed: Callable[[int], None]
) -> None:
    listed(30)
    first = json.loads(_run("--repo", home.folder, "--json").stdout)
    listed(3)
    result = _run("--repo", home.folder)
    assert result.exit_code == 0
    assert "it shrank from 30 signatures to 3" in result.output
    assert f"{first['version']}: nothing changed" in result.output
    again = json.loads(_run("--repo", home.folder, "--json").stdout)
    assert "shrank" in again["feeds"][0]["kept"]
    taken = json.loads(_run("--repo", home.folder, "--accept", "own", "--json").stdout)
    assert taken["new"]
    assert taken["feeds"][0]["signatures"] == 3


def test_remarks_are_shown(home: Home, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{'a' * 32}:5:A\n{'a' * 32}:6:A\n")
    result = _run("--repo", home.folder, "--feed", f"hashes={tmp_path / 'list.txt'}")
    assert "another size" in result.output


def test_a_first_download_that_fails_is_a_temporary_error(home: Home) -> None:
    result = _run("--repo", home.folder, "--feed", "hashes=http://127.0.0.1:1/list.txt")
    assert isinstance(result.exception, FetchError)
    assert result.exception.exit_code == 3


def test_without_feeds_it_says_where_to_name_them(home: Home) -> None:
    result = _run("--repo", home.folder)
    assert isinstance(result.exception, UsageError)
    assert "publisher.toml" in str(result.exception)


def test_a_bad_publisher_toml_stops_the_build(home: Home) -> None:
    (home.folder / "publisher.toml").write_text("feed = 1\n")
    assert isinstance(_run("--repo", home.folder, "--feed", "starter").exception, ConfigError)
