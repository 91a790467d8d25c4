"""Each engine's examples for the suite that all of them pass."""

import hashlib
import json

from mailward.definitions.model import ShardKind
from mailward.scan.engines import all_engines
from mailward.scan.engines.hashes import HashesEngine
from mailward.scan.engines.yara import YaraEngine
from tests.contract.engine_contract import Bad, EngineContract, Good


def _hash(algorithm: str, size: str, name: str, finds: bytes, *leaves: bytes) -> Good:
    digest = hashlib.new(algorithm, finds).hexdigest()
    return Good(f"{digest}:{size}:{name}".encode(), name, finds, leaves)


class TestHashes(EngineContract):
    engine = HashesEngine()
    kind = ShardKind.HASHES
    good = (
        _hash("md5", "10", "Mailward.Test.Md5", b"dangerous!", b"dangerous?", b"dangerous!!"),
        _hash("sha1", "9", "Mailward.Test.Sha1", b"dangerous", b"dangerouS"),
        _hash("sha256", "*", "Mailward.Test.Sha256", b"of any size", b"of any siz", b"of any sizf"),
        _hash("sha256", "5", "Mailward.Test.Größe", "größe".encode()[:5], b"abcde"),
    )
    bad = (
        Bad(b"0123:1:Too.Short", "Too.Short"),
        Bad(b"g" * 32 + b":1:Not.Hexadecimal", "Not.Hexadecimal"),
        Bad(b"A" * 32 + b":1:Upper.Case", "Upper.Case"),
        Bad(b"a" * 40 + b":-1:Negative", "Negative"),
        Bad(b"a" * 40 + b":99999999999999:Too.Large", "Too.Large"),
        Bad(b"b" * 64 + b":1:", "b" * 64 + ":1:"),
        Bad(b"c" * 64 + b":1:Control\x07", "c" * 64),
        Bad(b"d" * 64 + b":1:Not.UTF-8.\xff", "d" * 64),
        Bad(b"e" * 64 + b":1:" + b"x" * 1000, "e" * 64),
        Bad(b"no colon at all", "no colon at all"),
    )


def _rule(name: str, body: str, finds: bytes, *leaves: bytes) -> Good:
    return Good(_source(name, f"rule {name} {{ {body} }}"), name, finds, leaves)


def _source(namespace: str, source: str) -> bytes:
    return json.dumps({"namespace": namespace, "source": source}).encode()


class TestYara(EngineContract):
    engine = YaraEngine()
    kind = ShardKind.YARA
    good = (
        _rule("Text", 'strings: $a = "dangerous!" condition: $a', b"a dangerous! b", b"dangerous?"),
        _rule("Regex", r"strings: $a = /o[fg] any\d/ condition: $a", b"of any7", b"of any"),
        _rule("Start", "condition: uint16be(0) == 0x4d5b", b"M[", b" M[", b"M"),
        _rule("Wide", 'strings: $a = "wide" wide condition: $a', b"w\0i\0d\0e\0", b"wide"),
    )
    bad = (
        Bad(_source("b1", "rule unknown_string { condition: $a }"), "unknown_string"),
        Bad(_source("b2", "rule unknown_name { condition: nothing.known }"), "unknown_name"),
        Bad(_source("b3", "rule no_syntax { condition: and and }"), "no_syntax"),
        Bad(_source("b4", 'import "magic" rule other { condition: magic.mime_type() }'), "other"),
        Bad(_source("b5", "rule bad_regex { strings: $a = /(/ condition: $a }"), "bad_regex"),
        Bad(_source("b6", 'include "/etc/passwd"'), 'include "/etc/passwd"'),
        Bad(_source("b7-not-even-a-rule", "\0\1\2"), "b7-not-even-a-rule"),
    )
    bad_shards = (
        b"not JSON\n",
        b"\0" * 1000,
        b"[" * 100_000,
        b'{"namespace": "cut", "source": "rule',
        b'{"namespace": "without source"}\n',
        b'{"namespace": 1, "source": "rule a {condition: true}"}\n',
        b'{"namespace": "a", "source": 1}\n',
        b'{"namespace": "a", "source": "\\ud800"}\n',
        b'["namespace", "source"]\n',
        b"null\n",
        b"\xff\xfe\n",
        b"\n",
    )


def test_every_engine_passes_the_suite() -> None:
    suites = EngineContract.__subclasses__()
    assert {suite.engine.name for suite in suites} == {engine.name for engine in all_engines()}
