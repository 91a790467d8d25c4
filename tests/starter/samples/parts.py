"""Parts of a message, as short as can be."""

from mailward.scan.part import Part, Role


def attachment(name: str, data: bytes, content_type: str = "application/octet-stream") -> Part:
    return Part(f"message/1:{name}", data, Role.ATTACHMENT, name, content_type)


def member(name: str, data: bytes) -> Part:
    return Part(f"message/1:a.zip/{name}", data, Role.MEMBER, name, "", 1)


def file(name: str, data: bytes) -> Part:
    return Part(name, data, Role.FILE, name)


def body(data: bytes, content_type: str = "text/plain") -> Part:
    return Part("message/1", data, Role.BODY, "", content_type)


def message(data: bytes) -> Part:
    return Part("message", data, Role.MESSAGE)
