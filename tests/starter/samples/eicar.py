"""Samples for rules/test.yar."""

from mailward import starter
from tests.starter.samples.parts import attachment, body, file, member, message

_EICAR = starter.eicar()

DETECTED = {
    "Mailward.Test.EICAR": [
        file("eicar.com", _EICAR),
        attachment("eicar.com.txt", _EICAR, "text/plain"),
        member("eicar.com", _EICAR + b"\r\n"),
        body(_EICAR + b"\n"),
        attachment("", _EICAR + b" \t\r\n\x1a" * 12),
    ]
}

LEFT_ALONE = {
    "Mailward.Test.EICAR": [
        file("two.com", _EICAR + b" " * 61),  # 129 bytes
        file("more.com", _EICAR + b"x"),
        file("later.com", b" " + _EICAR),
        file("short.com", _EICAR[:-1]),
        file("empty.com", b""),
        body(b"The test file contains the text " + _EICAR),
        message(b"Subject: test\r\n\r\n" + _EICAR),
    ]
}
