"""Each signature with a sample of its own finds it where it would come: attached to a message."""

from collections.abc import Collection
from email.message import EmailMessage
from email.policy import SMTP

from mailward.definitions.model import Gate, ShardKind
from mailward.publish.gates.base import NotRun, Progress, Subject, gate
from mailward.publish.gates.collection import Workers
from mailward.publish.gates.files import File, Found, identify
from mailward.scan.proof import read_probes

NAME = "own-samples"


def samples(
    subject: Subject, excluded: Collection[str], workers: Workers, progress: Progress
) -> Gate | NotRun:
    """Send every probe through the whole scanner, but for those of ``excluded`` risks.

    Raises FormatError, TemporaryError, OSError.
    """
    folder = subject.work / "samples"
    folder.mkdir()
    expected: dict[File, tuple[str, str]] = {}
    for source in subject.sources:
        if source.kind is not ShardKind.PROBES:
            continue
        for name, expect, content in read_probes(source):
            if expect not in excluded:
                path = folder / f"{len(expected)}.eml"
                path.write_bytes(_message(name, content))
                expected[identify(path)] = (name, expect)
    if not expected:
        return NotRun(NAME, "no signature brings a sample of its own")
    found: dict[str, Found] = {}

    def told(answers: Collection[Found]) -> None:
        found.update({answer.key: answer for answer in answers})
        progress(NAME, len(found), len(expected))

    workers.run(iter(expected), told)
    culprits = [
        f"{expect} is not found in {name}"
        for file, (name, expect) in expected.items()
        if file.key not in found or expect not in found[file.key].risks
    ]
    detail = f"{len(expected) - len(culprits)} of {len(expected)} found as attachments"
    return gate(NAME, not culprits, detail, culprits)


def _message(name: str, content: bytes) -> bytes:
    message = EmailMessage(policy=SMTP)
    message["From"] = "sender@example.org"
    message["To"] = "recipient@example.org"
    message["Subject"] = "sample"
    message.set_content("The sample is attached.\n")
    message.add_attachment(content, "application", "octet-stream", filename=name)
    return message.as_bytes()
