from pathlib import Path

import pytest

from mailward.errors import ConfigError
from mailward.fetch import Login, Route, read_login


@pytest.fixture(autouse=True)
def no_proxy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def _file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "login"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_login_may_hold_colons_and_spaces_and_ends_at_the_line(tmp_path: Path) -> None:
    assert read_login(_file(tmp_path, b"me:a: b\r\n"), "key") == Login("me", "a: b")


@pytest.mark.parametrize(
    "content", [b"", b"hunter2", b":hunter2", b"a:hunter2\nb:c\n", b"\xffhunter2:\xff", b"a:\0"]
)
def test_a_file_that_holds_no_login_is_refused_without_quoting_it(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ConfigError, match="user:password") as caught:
        read_login(_file(tmp_path, content), "update.proxy_login")
    assert "hunter2" not in str(caught.value)


def test_a_login_that_others_may_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        read_login(_file(tmp_path, b"a:b", 0o640), "key")


def test_a_login_is_not_shown_when_printed() -> None:
    assert "hunter2" not in repr(Login("user", "hunter2"))


def test_a_missing_file_is_named_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"update\.ftp_login .*nothing"):
        read_login(tmp_path / "nothing", "update.ftp_login")


def test_without_settings_and_environment_there_is_no_proxy() -> None:
    assert Route().proxy_for("https://example.org/x") == ("", None)


@pytest.mark.parametrize(
    ("named", "address", "login"),
    [
        ("proxy.example:3128", "http://proxy.example:3128", None),
        ("http://proxy.example", "http://proxy.example:80", None),
        ("https://a%40b:c%3Ad@proxy.example/", "https://proxy.example:443", Login("a@b", "c:d")),
        ("http://[::1]:3128", "http://[::1]:3128", None),
    ],
)
def test_proxies_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, named: str, address: str, login: Login | None
) -> None:
    monkeypatch.setenv("https_proxy", named)
    assert Route().proxy_for("https://example.org/x") == (address, login)
    assert Route().proxy_for("http://example.org/x") == ("", None)


@pytest.mark.parametrize("named", ["socks5://a:hunter2@h", "http://", "http://a:hunter2@h:x"])
def test_a_proxy_that_is_none_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("https_proxy", named)
    with pytest.raises(ConfigError, match="https_proxy in the environment") as caught:
        Route().proxy_for("https://example.org/x")
    assert "hunter2" not in str(caught.value)
