"""The functions of Windows that unpackers call, and what they are answered.

Where nothing is said, the answer is 0: nobody debugs, no window is there, nothing was found.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mailward.scan.programs.x86.memory import MASK

if TYPE_CHECKING:
    from mailward.scan.programs.x86.windows import Windows

PATH = b"C:\\a.exe"
"""Of the program, and all of its command line."""

LOADING = {
    "LoadLibraryA", "LoadLibraryExA", "GetModuleHandleA", "GetProcAddress", "FreeLibrary",
    "VirtualAlloc", "VirtualFree", "VirtualProtect", "GlobalAlloc", "GlobalFree", "LocalAlloc",
    "LocalFree", "GetProcessHeap", "HeapAlloc", "HeapFree",
}  # fmt: skip
"""What unpackers call when they are nearly done; programs begin with others."""

ARGUMENTS = {
    "LoadLibraryA": 1, "LoadLibraryExA": 3, "GetModuleHandleA": 1, "GetProcAddress": 2,
    "FreeLibrary": 1, "VirtualAlloc": 4, "VirtualFree": 3, "VirtualProtect": 4, "VirtualQuery": 3,
    "GlobalAlloc": 2, "GlobalFree": 1, "LocalAlloc": 2, "LocalFree": 1, "GetProcessHeap": 0,
    "HeapAlloc": 3, "HeapFree": 3, "GetVersion": 0, "GetVersionExA": 1, "GetTickCount": 0,
    "IsDebuggerPresent": 0, "CheckRemoteDebuggerPresent": 2, "GetCurrentProcess": 0,
    "GetCurrentProcessId": 0, "GetCurrentThread": 0, "GetCurrentThreadId": 0, "GetLastError": 0,
    "SetLastError": 1, "GetCommandLineA": 0, "GetModuleFileNameA": 3, "CreateFileA": 7,
    "GetFileSize": 2, "ReadFile": 5, "SetFilePointer": 4, "CreateFileMappingA": 6,
    "MapViewOfFile": 5, "UnmapViewOfFile": 1, "CloseHandle": 1, "Sleep": 1, "SetErrorMode": 1,
    "SetUnhandledExceptionFilter": 1, "UnhandledExceptionFilter": 1, "OutputDebugStringA": 1,
    "QueryPerformanceCounter": 1, "CreateToolhelp32Snapshot": 2, "Process32First": 2,
    "Process32Next": 2, "GetSystemTime": 1, "GetStartupInfoA": 1, "lstrlenA": 1, "FindWindowA": 2,
    "OpenMutexA": 3, "CreateMutexA": 3,
}  # fmt: skip
"""How many arguments those take that are answered."""

_MORE_EXPORTED = """
    CreateDirectoryA CreateEventA CreatePipe CreateProcessA CreateThread DeleteFileA
    DuplicateHandle ExitProcess ExitThread FindClose FindFirstFileA FindNextFileA FindResourceA
    FlushFileBuffers FreeResource GetProcessTimes GetStdHandle GetSystemDirectoryA GetTempPathA
    GetThreadContext GetWindowsDirectoryA HeapCreate HeapReAlloc HeapSize LoadLibraryW LoadResource
    OpenProcess RaiseException ReadProcessMemory ResumeThread SetEvent SetThreadContext
    SuspendThread TerminateProcess TlsAlloc TlsGetValue TlsSetValue WaitForSingleObject WinExec
    WriteFile WriteProcessMemory lstrcatA lstrcmpA lstrcpyA
"""
_USER = """
    BeginPaint CharUpperA CreateWindowExA DefWindowProcA DestroyWindow DialogBoxParamA
    DispatchMessageA EndDialog EndPaint FindWindowA GetDC GetDlgItem GetMessageA GetSystemMetrics
    InvalidateRect KillTimer LoadCursorA LoadIconA LoadStringA MessageBoxA PeekMessageA PostMessageA
    PostQuitMessage RegisterClassA RegisterClassExA ReleaseDC SendMessageA SetTimer SetWindowTextA
    ShowWindow TranslateMessage UpdateWindow wsprintfA
"""
EXPORTED = {
    "kernel32": sorted({*ARGUMENTS, *_MORE_EXPORTED.split()} - {"FindWindowA"}),
    "user32": _USER.split(),
}
"""What libraries say that they have, to who reads their tables."""

_OWN_FILE, _OWN_MAPPING = 0x74, 0x78
"""Handles."""


def _find(w: "Windows", _library: int, name: int) -> int:
    if name < 0x10000:
        return w.function(f"#{name}")
    text = w.memory.text(name).decode("latin-1")
    return w.function(text) if text.isprintable() and text else 0


def _library(w: "Windows", name: int, *_: int) -> int:
    if not name:
        return w.program.base
    return w.module(w.memory.text(name).decode("latin-1"))


def _protect(w: "Windows", _at: int, _size: int, _how: int, was: int) -> int:
    if was:
        w.memory.write(was, 0x40)
    return 1


def _path(w: "Windows", _module: int, to: int, size: int) -> int:
    w.memory.put(to, (PATH + b"\0")[:size])
    return len(PATH)


def _open(w: "Windows", name: int, *_: int) -> int:
    return _OWN_FILE if w.memory.text(name) == PATH else MASK


def _size(w: "Windows", file: int, high: int) -> int:
    if high:
        w.memory.write(high, 0)
    return len(w.data) if file == _OWN_FILE else MASK


def _read(w: "Windows", file: int, to: int, size: int, done: int, _: int) -> int:
    piece = w.data[w.read_at : w.read_at + size] if file == _OWN_FILE else b""
    w.read_at += len(piece)
    w.memory.put(to, piece)
    if done:
        w.memory.write(done, len(piece))
    return int(file == _OWN_FILE)


def _seek(w: "Windows", _file: int, distance: int, _high: int, how: int) -> int:
    start = (0, w.read_at, len(w.data))[how % 3]
    w.read_at = min((start + distance) & MASK, len(w.data))
    return w.read_at


def _view(w: "Windows", *_: int) -> int:
    at = w.allocate(len(w.data))
    w.memory.put(at, w.data)
    return at


ANSWERS: dict[str, Callable[..., int]] = {
    "LoadLibraryA": _library,
    "LoadLibraryExA": _library,
    "GetModuleHandleA": _library,
    "GetProcAddress": _find,
    "FreeLibrary": lambda *_: 1,
    "VirtualAlloc": lambda w, at, size, *_: w.allocate(size, at),
    "VirtualFree": lambda *_: 1,
    "VirtualProtect": _protect,
    "GlobalAlloc": lambda w, _, size: w.allocate(size),
    "LocalAlloc": lambda w, _, size: w.allocate(size),
    "HeapAlloc": lambda w, _, __, size: w.allocate(size),
    "GetProcessHeap": lambda *_: 0x140000,
    "GetVersion": lambda *_: 0x23F00206,
    "GetTickCount": lambda *_: 123456,
    "GetCurrentProcess": lambda *_: MASK,
    "GetCurrentThread": lambda *_: MASK - 1,
    "GetCurrentProcessId": lambda *_: 4242,
    "GetCurrentThreadId": lambda *_: 4243,
    "GetCommandLineA": lambda w: w.command_line,
    "GetModuleFileNameA": _path,
    "CreateFileA": _open,
    "GetFileSize": _size,
    "ReadFile": _read,
    "SetFilePointer": _seek,
    "CreateFileMappingA": lambda _, file, *__: _OWN_MAPPING if file == _OWN_FILE else 0,
    "MapViewOfFile": _view,
    "UnmapViewOfFile": lambda *_: 1,
    "CloseHandle": lambda *_: 1,
    "CreateToolhelp32Snapshot": lambda *_: MASK,
    "lstrlenA": lambda w, at: len(w.memory.text(at, 4096)),
}
