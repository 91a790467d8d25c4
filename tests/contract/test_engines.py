"""Each engine's examples for the suite that all of them pass."""

import hashlib
import json

from mailward.definitions.model import ShardKind
from mailward.scan.engines import all_engines
from mailward.scan.engines.hashes import HashesEngine
from mailward.scan.engines.signatures import SignaturesEngine
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


class TestSignaturesExtended(EngineContract):
    engine = SignaturesEngine()
    kind = ShardKind.CLAMAV
    suffix = ".ndb"
    good = (
        Good(b"Hex:0:*:64616e6765726f757321", "Hex", b"a dangerous! b", (b"dangerous?", b"")),
        Good(b"Gap:0:*:6669727374{2-3}6c617374", "Gap", b"first..last", (b"first.last",)),
        Good(b"Start:0:0:4d5b{-4}5a5a", "Start", b"M[.ZZ", (b" M[.ZZ", b"M[.....ZZ")),
        Good(b"End:0:EOF-4:656e6421", "End", b"the end!", (b"the end!!", b"end")),
        Good(b"Choice:0:*:6f6e65(32|33)7?!(30)", "Choice", b".one3z1", (b"one3z0", b"one4z1")),
    )
    bad = (
        Bad(b"Three.Fields:0:*", "Three.Fields"),
        Bad(b"Odd:0:*:616", "Odd"),
        Bad(b"Not.Hexadecimal:0:*:zz", "Not.Hexadecimal"),
        Bad(b"Everything:0:*:??", "Everything"),
        Bad(b"No.Target:99:*:6162", "No.Target"),
        Bad(b"No.Offset:0:X+1:6162", "No.Offset"),
        Bad(b"Deep:0:*:6162" + b"(" * 1000 + b"61" + b")" * 1000, "Deep"),
        Bad(b"Long:0:*:" + b"61" * 50_000, "Long"),
        Bad(b":9:*:6162", ":9:*:6162"),
        Bad(b"Level.X:0:*:6162:x", "Level.X"),
    )
    bad_shards = (b"\0" * 1000, b"Nul:0:*:6162\0\n")


class TestSignaturesLogical(EngineContract):
    engine = SignaturesEngine()
    kind = ShardKind.CLAMAV
    suffix = ".ldb"
    good = (
        Good(b"And;Target:0;0&1;6f6e6574;74776f74", "And", b"twot onet", (b"onet", b"twot")),
        Good(b"Count;Target:0;0>2;74696d6573", "Count", b"timestimestimes", (b"timestimes",)),
        Good(b"Not;Target:0;0&(1=0);79657379;6e6f6e6f", "Not", b"yesy", (b"yesy nono",)),
        Good(b"Case;Target:0;0;63617365::i", "Case", b"CaSe", (b"cAs e",)),
        Good(b"Word;Target:0;0;776f7264::fw", "Word", b"w\0o\0r\0d\0", (b"word", b"w\0o\0r\0d")),
        Good(
            rb"Pcre;Target:0;1;72656765;0/reg(e|f)x\d{2}/i",
            "Pcre",
            b"rege REGEX42",
            (b"rege regex4",),
        ),
        Good(b"Size;Target:0,FileSize:4-5;0;73697a65", "Size", b"size!", (b"size!!",)),
    )
    bad = (
        Bad(b"Fields;Target:0;0", "Fields"),
        Bad(b"Missing.Index;Target:0;0&3;6162", "Missing.Index"),
        Bad(b"No.Target;Engine:1-255;0;6162", "No.Target"),
        Bad(b"Unknown.Attribute;Target:0,Colour:red;0;6162", "Unknown.Attribute"),
        Bad(b"Unclosed;Target:0;(0;6162", "Unclosed"),
        Bad(b"Deep;Target:0;" + b"(" * 1000 + b"0" + b")" * 1000 + b";6162", "Deep"),
        Bad(b"Only.Not;Target:0;0=0;6162", "Only.Not"),
        Bad(b"Much;Target:0;0" + b";6162" * 70, "Much"),
        Bad(b"Early;Target:0;0;0/x/;6162", "Early"),
        Bad(b"Modifier;Target:0;0;6162::z", "Modifier"),
    )


def _digest(name: str, finds: bytes, *leaves: bytes, size: str = "*") -> Good:
    digest = hashlib.md5(finds).hexdigest()
    return Good(f"{digest}:{size}:{name}".encode(), name, finds, leaves)


class TestSignaturesDigests(EngineContract):
    engine = SignaturesEngine()
    kind = ShardKind.CLAMAV
    suffix = ".hdb"
    good = (
        _digest("Sized", b"dangerous!", b"dangerous?", size="10"),
        _digest("Any.Size", b"of any size", b"of any siz"),
        _digest("Another", b"another one", b"another on"),
    )
    bad = (
        Bad(b"0123:1:Too.Short", "Too.Short"),
        Bad(b"a" * 32 + b":-1:Negative", "a" * 32),
        Bad(b"b" * 32 + b":99999999999:Too.Large", "b" * 32),
        Bad(b"c" * 32 + b":1:", "c" * 32),
        Bad(b"no colon at all", "no colon at all"),
    )


def test_every_engine_passes_the_suite() -> None:
    suites = EngineContract.__subclasses__()
    assert {suite.engine.name for suite in suites} == {engine.name for engine in all_engines()}
