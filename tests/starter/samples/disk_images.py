"""Samples for rules/disk_images.yar."""

from tests.starter.samples import formats
from tests.starter.samples.parts import attachment, file, member

_PE = formats.pe()
_TEXT = b"Minutes of the meeting. See setup.exe;1 for more."
_LINK = formats.shell_link("..\\a.dll", "x")

DETECTED = {
    "Mailward.DiskImage.Program": [
        attachment("invoice.iso", formats.iso({"setup.exe": b"x"})),
        attachment("invoice.img", formats.iso({"invoice.js": b"x"}, joliet=True)),
        attachment(
            "invoice.iso", formats.iso({"\u0437\u0430\u043a\u0430\u0437.vbs": b"x"}, joliet=True)
        ),
        attachment("invoice.iso", formats.iso({"data.bin": _PE})),
        attachment("invoice.iso", formats.udf(["readme.txt", "invoice.hta"])),
        attachment("invoice.iso", formats.udf(["invoice.exe"], wide=True)),
        attachment("invoice.img", formats.fat_disk("invoice.exe", b"x")),
        attachment("invoice.vhd", formats.vhd(formats.fat_disk("data.bin", _PE))),
        attachment(
            "invoice.vhdx", b"vhdxfile".ljust(70000, b"\0") + formats.ntfs_name("invoice.wsf")
        ),
        member("invoice.iso", formats.iso({"setup.exe": b"x"})),
    ],
    "Mailward.DiskImage.Shortcut": [
        attachment("invoice.iso", formats.iso({"invoice.lnk": _LINK, "a.dll": _PE})),
        member("invoice.vhd", formats.vhd(formats.fat_disk("a.lnk", _LINK))),
    ],
}

LEFT_ALONE = {
    "Mailward.DiskImage.Program": [
        attachment("photos.iso", formats.iso({"photo.jpg": b"\xff\xd8", "minutes.txt": _TEXT})),
        attachment("photos.iso", formats.iso({"photo.jpg": b"\xff\xd8"}, joliet=True)),
        attachment("photos.iso", formats.udf(["photo.jpg", "exe.txt"])),
        attachment("photos.img", formats.fat_disk("photo.jpg", b"\xff\xd8")),
        attachment("disk.vhd", formats.vhd(formats.fat_disk("minutes.txt", _TEXT))),
        attachment("setup.exe", _PE),
        attachment("cut.iso", formats.iso({"setup.exe": b"x"})[:33000]),
        file("debian.iso", formats.iso({"setup.exe": _PE})),
        attachment("empty.vhd", b""),
    ],
    "Mailward.DiskImage.Shortcut": [
        attachment("photos.iso", formats.iso({"photo.jpg": b"\xff\xd8"})),
        attachment("setup.iso", formats.iso({"setup.exe": _PE})),
        attachment("a.lnk", _LINK),
    ],
}
