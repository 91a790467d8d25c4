"""Which document begins how, and who reads it."""

from collections.abc import Callable

from mailward.scan.budget import Budget
from mailward.scan.contents import Contents
from mailward.scan.documents import (
    directory,
    excel_binary,
    flash,
    hangul,
    office,
    office_xml,
    pdf,
    rtf,
    tnef,
    web,
    wide_text,
)
from mailward.scan.mime import applefile, cms

Reader = Callable[[bytes, str, Budget], Contents]
"""As ``mailward.scan.containers.Reader``."""

AT_START: tuple[tuple[bytes, str, Reader], ...] = (
    (office.STARTS, "compound file (Office, Outlook)", office.read),
    (hangul.STARTS_3, "Hangul document (version 3)", hangul.read_3),
    (rtf.STARTS, "RTF document", rtf.read),
    (flash.STARTS, "compressed Flash film", flash.read),
    (tnef.STARTS, "TNEF (winmail.dat)", tnef.read),
    (cms.STARTS, "S/MIME message", cms.read),
    (office_xml.ACTIVE_MIME_STARTS, "ActiveMime (editdata.mso)", office_xml.read_active_mime),
    (excel_binary.STARTS, "sheet of a binary Excel workbook", excel_binary.read),
    (directory.STARTS, "calendar or contact", directory.read),
    (wide_text.STARTS, "text in UTF-16 or UTF-32", wide_text.read),
    (applefile.STARTS, "Macintosh file (AppleSingle)", applefile.read),
)
"""Regular expressions without groups."""

BY_LOOK: tuple[tuple[Callable[[bytes], bool], str, Reader], ...] = (
    (applefile.looks_like_macbinary, "Macintosh file (MacBinary)", applefile.read_macbinary),
    (hangul.looks_like_hwpml, "Hangul document in XML", hangul.read_hwpml),
    (pdf.looks_so, "PDF document", pdf.read),
    (office_xml.looks_so, "Office document in XML", office_xml.read),
)
"""Besides what it starts as."""

BY_MARKS: tuple[tuple[Callable[[bytes, int], bool], str, Reader], ...] = (
    (web.looks_so, "HTML, SVG or script", web.read),
)
"""Given what a text holds (``scan.marks``)."""
