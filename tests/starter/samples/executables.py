"""Samples for rules/executables.yar."""

from tests.starter.samples import formats
from tests.starter.samples.parts import attachment, file, member, message

_PE = formats.pe()
_MSI = formats.compound({"File": b"x"}, "000c1084-0000-0000-c000-000000000046")
_DOC = formats.compound({"WordDocument": b"x"}, "00020906-0000-0000-c000-000000000046")
_LETTER = b"MZ was what the letter began with; the rest was about PE and sports."

DETECTED = {
    "Mailward.Attachment.DisguisedExecutable": [
        attachment("invoice.pdf", _PE, "application/pdf"),
        attachment("invoice.pdf", _PE),
        attachment("photo.JPG", formats.elf(), "image/jpeg"),
        attachment("minutes.doc ", _MSI),
        attachment("plan.docx.", formats.mach_o()),
        attachment("plan.xlsx", formats.mach_o_fat()),
        attachment("song.mp3", formats.java_class()),
        attachment("", _PE, "image/png"),
        attachment("cid17", _PE, "application/vnd.ms-excel"),
        member("word/media/image1.png", _PE),
        file("readme.txt", _PE),
    ],
    "Mailward.Attachment.Executable": [
        attachment("setup.exe", _PE),
        attachment("", _PE),
        attachment("tool.dat", formats.elf()),
        attachment("install.msi", _MSI),
        attachment("saver.SCR", b"anything"),
        attachment("applet.jar", b"PK\x03\x04"),
    ],
    "Mailward.Archive.Executable": [
        member("setup.exe", _PE),
        member("folder/Setup.COM", _PE),
        member("folder/install.msi", _MSI),
        member("saver.scr ", b"anything"),
    ],
}

LEFT_ALONE = {
    "Mailward.Attachment.DisguisedExecutable": [
        attachment("setup.exe", _PE),  # a program called a program
        attachment("setup.exe", _PE, "image/png"),
        attachment("library.dll", _PE, "application/pdf"),
        attachment("a.out", formats.elf(), "video/mpeg"),
        attachment("letter.txt", _LETTER, "text/plain"),
        attachment("letter.doc", _DOC, "application/msword"),
        attachment("cut.doc", _DOC[:40]),
        attachment("mz.pdf", b"MZ"),
        attachment("mz.pdf", b"MZ".ljust(0x3C, b"\0") + b"\xff\xff\xff\xff"),
        attachment("empty.pdf", b""),
        message(_PE),
    ],
    "Mailward.Attachment.Executable": [
        attachment("letter.txt", _LETTER, "text/plain"),
        attachment("letter.doc", _DOC),
        attachment("notes on setup.exe.txt", b"How to install it", "text/plain"),
        member("setup.exe", _PE),
        file("/usr/bin/true", formats.elf()),
    ],
    "Mailward.Archive.Executable": [
        member("package/Main.class", formats.java_class()),
        member("package/native.so", formats.elf()),
        member("package/native.pyd", _PE),
        member("docs/setup.exe.html", b"<html>How to install</html>"),
        member("setup.exe", b""),
        attachment("setup.exe", _PE),
    ],
}
