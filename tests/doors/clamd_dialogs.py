"""What clients of the clamd protocol say, and what clamd 1.4.6 answers: the same is asked of ours.

``{d}`` is a folder with files; VIRUS in a file is Fake.Virus, ODD is Fake.Odd. Replies are compared
without their order, as clamd has none within a session.
"""

import re
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Dialog:
    name: str
    said: bytes
    heard: tuple[bytes, ...]


def chunks(*contents: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(c)) + c for c in contents) + bytes(4)


MAX_STREAM = 100 * 1024

_NO_FILE = b"File path check failure: No such file or directory. ERROR"
_INVALID = b"Command invalid inside IDSESSION. ERROR"

DIALOGS = (
    Dialog("ping_newline", b"nPING\n", (b"PONG\n",)),
    Dialog("ping_nul", b"zPING\0", (b"PONG\0",)),
    Dialog("ping_plain", b"PING\n", (b"PONG\n",)),
    Dialog("ping_plain_crlf", b"PING\r\n", (b"PONG\n",)),
    Dialog("ping_newline_crlf", b"nPING\r\n", (b"PONG\n",)),
    Dialog("ping_plain_without_end", b"PING", (b"PONG\n",)),
    Dialog("ping_newline_without_end", b"nPING", ()),
    Dialog("ping_lower_case", b"nping\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("ping_with_argument", b"nPING x\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("ping_with_blank", b"nPING \n", (b"UNKNOWN COMMAND\n",)),
    Dialog("ping_nul_with_newline", b"zPING\n\0", (b"UNKNOWN COMMAND\0",)),
    Dialog("ping_another_form", b"xPING\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("one_command_a_connection", b"nPING\nnPING\n", (b"PONG\n",)),
    Dialog("nothing", b"", ()),
    Dialog("empty_newline", b"n\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("empty_nul", b"z\0", (b"UNKNOWN COMMAND\0",)),
    Dialog("empty_plain", b"\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("half_a_form", b"z", ()),
    Dialog("not_ascii", b"z\xff\xfe\0", (b"UNKNOWN COMMAND\0",)),
    Dialog("unknown", b"nSTREAM\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("long", b"n" + b"A" * 2000 + b"\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("reload", b"zRELOAD\0", (b"RELOADING\0",)),
    Dialog("reload_with_argument", b"nRELOAD x\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("end_alone", b"nEND\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("version_commands_plain", b"VERSIONCOMMANDS\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("stats_plain", b"STATS\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("session_plain", b"IDSESSION\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("allmatch_plain", b"ALLMATCHSCAN {d}/clean\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("stream_plain", b"INSTREAM\n" + chunks(b"hello"), (b"UNKNOWN COMMAND\n",)),
    Dialog("stream_clean", b"nINSTREAM\n" + chunks(b"hello"), (b"stream: OK\n",)),
    Dialog("stream_found", b"zINSTREAM\0" + chunks(b"a VIRUS"), (b"stream: Fake.Virus FOUND\0",)),
    Dialog("stream_in_pieces", b"zINSTREAM\0" + chunks(*(bytes([c]) for c in b"a VIRUS")),
           (b"stream: Fake.Virus FOUND\0",)),
    Dialog("stream_empty", b"zINSTREAM\0" + chunks(), (b"stream: OK\0",)),
    Dialog("stream_with_argument", b"zINSTREAM x\0" + chunks(b"h"), (b"UNKNOWN COMMAND\0",)),
    Dialog("stream_at_the_limit", b"zINSTREAM\0" + chunks(b"x" * MAX_STREAM), (b"stream: OK\0",)),
    Dialog("stream_over_the_limit", b"zINSTREAM\0" + chunks(b"x" * (MAX_STREAM + 1)),
           (b"INSTREAM size limit exceeded. ERROR\0",)),
    Dialog("stream_over_the_limit_together", b"zINSTREAM\0" + chunks(b"x" * 60000, b"y" * 60000),
           (b"INSTREAM size limit exceeded. ERROR\0",)),
    Dialog("stream_broken_off", b"zINSTREAM\0\0\0\0\x05hel", ()),
    Dialog("stream_not_begun", b"zINSTREAM\0", ()),
    Dialog("scan_clean", b"nSCAN {d}/clean\n", (b"{d}/clean: OK\n",)),
    Dialog("scan_found", b"zSCAN {d}/a\0", (b"{d}/a: Fake.Virus FOUND\0",)),
    Dialog("scan_plain", b"SCAN {d}/a\n", (b"{d}/a: Fake.Virus FOUND\n",)),
    Dialog("scan_tab", b"nSCAN\t{d}/clean\n", (b"{d}/clean: OK\n",)),
    Dialog("scan_empty_file", b"nSCAN {d}/zero\n", (b"{d}/zero: OK\n",)),
    Dialog("scan_absent", b"nSCAN {d}/nothing\n", (b"{d}/nothing: " + _NO_FILE + b"\n",)),
    Dialog("scan_no_path", b"nSCAN\n", (b"UNKNOWN COMMAND\n",)),
    Dialog("scan_empty_path", b"nSCAN \n", (b": " + _NO_FILE + b"\n",)),
    Dialog("scan_blank_at_end", b"nSCAN {d}/a \n", (b"{d}/a : " + _NO_FILE + b"\n",)),
    Dialog("scan_newline_in_path", b"zSCAN {d}/a\nx\0", (b"{d}/a\nx: " + _NO_FILE + b"\0",)),
    Dialog("scan_dots", b"zSCAN {d}/sub/../a\0", (b"{d}/sub/../a: Fake.Virus FOUND\0",)),
    Dialog("scan_folder_to_the_first", b"zSCAN {d}\0", (b"{d}/a: Fake.Virus FOUND\0",)),
    Dialog("scan_clean_folder", b"zSCAN {d}/good\0", (b"{d}/good: OK\0",)),
    Dialog("contscan", b"zCONTSCAN {d}\0",
           (b"{d}/a: Fake.Virus FOUND\0", b"{d}/sub/b: Fake.Virus FOUND\0")),
    Dialog("contscan_plain", b"CONTSCAN {d}\n",
           (b"{d}/a: Fake.Virus FOUND\n", b"{d}/sub/b: Fake.Virus FOUND\n")),
    Dialog("contscan_file", b"nCONTSCAN {d}/a\n", (b"{d}/a: Fake.Virus FOUND\n",)),
    Dialog("contscan_absent", b"zCONTSCAN {d}/nothing\0", (b"{d}/nothing: " + _NO_FILE + b"\0",)),
    Dialog("contscan_empty_folder", b"zCONTSCAN {d}/empty\0", (b"{d}/empty: OK\0",)),
    Dialog("multiscan", b"zMULTISCAN {d}\0",
           (b"{d}/a: Fake.Virus FOUND\0", b"{d}/sub/b: Fake.Virus FOUND\0")),
    Dialog("multiscan_plain", b"MULTISCAN {d}/sub\n", (b"{d}/sub/b: Fake.Virus FOUND\n",)),
    Dialog("multiscan_clean_file", b"zMULTISCAN {d}/clean\0", (b"{d}/clean: OK\0",)),
    Dialog("multiscan_absent", b"zMULTISCAN {d}/nothing\0", (b"{d}/nothing: " + _NO_FILE + b"\0",)),
    Dialog("allmatchscan", b"zALLMATCHSCAN {d}/sub/b\0",
           (b"{d}/sub/b: Fake.Odd FOUND\0", b"{d}/sub/b: Fake.Virus FOUND\0")),
    Dialog("allmatchscan_clean", b"zALLMATCHSCAN {d}/clean\0", (b"{d}/clean: OK\0",)),
    Dialog("allmatchscan_absent", b"zALLMATCHSCAN {d}/nothing\0",
           (b"{d}/nothing: " + _NO_FILE + b"\0",)),
    Dialog("fildes_without_anything", b"zFILDES\0", ()),
    Dialog("session", b"zIDSESSION\0zPING\0zPING\0zEND\0", (b"1: PONG\0", b"2: PONG\0")),
    Dialog("session_newline", b"nIDSESSION\nnPING\nnEND\n", (b"1: PONG\n",)),
    Dialog("session_of_both_forms", b"zIDSESSION\0nPING\nzEND\0", (b"1: PONG\n",)),
    Dialog("session_without_end", b"zIDSESSION\0zPING\0", (b"1: PONG\0",)),
    Dialog("session_ended_at_once", b"zIDSESSION\0zEND\0zPING\0", ()),
    Dialog("session_with_argument", b"zIDSESSION x\0zPING\0", (b"UNKNOWN COMMAND\0",)),
    Dialog("session_in_session", b"zIDSESSION\0zIDSESSION\0zEND\0", (b"1: " + _INVALID + b"\0",)),
    Dialog("session_contscan", b"zIDSESSION\0zCONTSCAN {d}\0zEND\0", (b"1: " + _INVALID + b"\0",)),
    Dialog("session_reload", b"zIDSESSION\0zRELOAD\0zPING\0zEND\0", (b"1: " + _INVALID + b"\0",)),
    Dialog("session_unknown", b"zIDSESSION\0zFOO\0zPING\0zEND\0", (b"1: " + _INVALID + b"\0",)),
    Dialog("session_of_scans",
           b"zIDSESSION\0zINSTREAM\0" + chunks(b"a VIRUS") + b"zINSTREAM\0" + chunks(b"hello")
           + b"zSCAN {d}/a\0zSCAN {d}/nothing\0zPING\0zEND\0",
           (b"1: stream: Fake.Virus FOUND\0", b"2: stream: OK\0", b"3: {d}/a: Fake.Virus FOUND\0",
            b"4: {d}/nothing: " + _NO_FILE + b"\0", b"5: PONG\0")),
    Dialog("session_scan_folder", b"zIDSESSION\0zSCAN {d}\0zEND\0",
           (b"1: {d}/a: Fake.Virus FOUND\0",)),
    Dialog("session_over_the_limit",
           b"zIDSESSION\0zINSTREAM\0" + chunks(b"x" * (MAX_STREAM + 1)) + b"zPING\0zEND\0",
           (b"1: INSTREAM size limit exceeded. ERROR\0",)),
)  # fmt: skip


def lay_out(folder: Path) -> None:
    """The files that dialogs name."""
    for name in ("sub", "good", "empty"):
        (folder / name).mkdir(parents=True)
    for path, content in {
        "a": b"a VIRUS",
        "clean": b"hello\n",
        "zero": b"",
        "sub/b": b"a VIRUS and ODD",
        "good/c": b"hello\n",
    }.items():
        (folder / path).write_bytes(content)


def play(dialog: Dialog, client: socket.socket, folder: Path) -> Sequence[bytes]:
    """Say it all, and hear everything up to the end; order, fd numbers and ``.UNOFFICIAL`` gone."""
    client.settimeout(PATIENCE_S)
    try:
        client.sendall(dialog.said.replace(b"{d}", bytes(folder)))
        client.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has heard enough
    heard = b""
    try:
        while piece := client.recv(65536):
            heard += piece
    except ConnectionResetError:
        pass  # clamd closes without having read everything
    heard = heard.replace(b".UNOFFICIAL FOUND", b" FOUND").replace(bytes(folder), b"{d}")
    return sorted(re.findall(rb"[^\0]*\0" if b"\0" in heard else rb"[^\n]*\n", heard))
