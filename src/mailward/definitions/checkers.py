"""A product's own checker, where it is installed: what it does not take is not given to it (S2)."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailward.definitions.exports import MARKER_NAME, marker
from mailward.definitions.products import Product, ProductKind

TIMEOUT_S = 900.0
"""ClamAV takes 10 to 30 s to load its official set on a busy core."""

_SAID_MAX = 50
"""Lines of a checker that are kept; it says the same of hundreds of rules."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a checker said."""

    problem: str = ""
    """Why the product cannot take it; empty: it can."""
    left_out: tuple[str, ...] = ()
    """Signatures and files that it would not use, in its words."""


def check(product: Product, export: str, folder: Path) -> Checked:
    """Prove an export with the product's own means. Without them it passes: nobody can tell."""
    if product.kind is ProductKind.CLAMD:
        return _clamscan(export, folder)
    if product.kind is ProductKind.YARA:
        return _yarac(folder)
    return Checked()


def _clamscan(export: str, folder: Path) -> Checked:
    """`clamscan -d`: it loads everything and finds the marker."""
    program = shutil.which("clamscan")
    if program is None:
        return Checked()
    probe = folder.parent / f"{folder.name}.probe"
    probe.write_bytes(marker(export))
    try:
        done = _run([program, "--no-summary", "--stdout", f"--database={folder}", str(probe)])
    finally:
        probe.unlink(missing_ok=True)
    if isinstance(done, str):
        return Checked(done)
    lines = [line for line in done.stdout.splitlines() if line]
    said = tuple(_short(line, folder) for line in lines if line.startswith("LibClamAV "))
    if done.returncode == 1 and f"{MARKER_NAME}.{export}" in done.stdout:
        return Checked(left_out=said[:_SAID_MAX])
    reason = "; ".join(said[:3]) or done.stdout[:500] or f"exit code {done.returncode}"
    return Checked(f"clamscan does not load it: {reason}")


def _yarac(folder: Path) -> Checked:
    """`yarac` or `yr compile`, whichever is there. What it cannot compile is left out and named."""
    files = sorted(folder.glob("*.yar"))
    compiler = _compiler(folder)
    if compiler is None or not files:
        return Checked()
    done = _run([*compiler, *_arguments(compiler, files)])
    if isinstance(done, str):
        return Checked(done)
    if done.returncode == 0:
        return Checked()
    left_out = []
    for file in files:
        alone = _run([*compiler, *_arguments(compiler, [file])])
        if isinstance(alone, str):
            return Checked(alone)
        if alone.returncode != 0:
            said = (alone.stderr or alone.stdout).strip().partition("\n")[0]
            left_out.append(_short(f"{file.name}: {said}", folder))
            file.unlink()
    if len(left_out) == len(files):
        return Checked(f"{Path(compiler[0]).name} takes none of it: {left_out[0]}")
    return Checked(left_out=tuple(left_out[:_SAID_MAX]))


def _compiler(folder: Path) -> list[str] | None:
    yarac = shutil.which("yarac")
    if yarac is not None:
        return [yarac, "-w"]
    yr = shutil.which("yr")
    return [yr, "compile", "--output", str(folder.parent / f"{folder.name}.probe")] if yr else None


def _arguments(compiler: Sequence[str], files: Sequence[Path]) -> list[str]:
    """Each file in a namespace of its own: rules of one name in two of them are no error."""
    named = [f"n{number}:{file}" for number, file in enumerate(files)]
    return [*named, "/dev/null"] if compiler[0].endswith("yarac") else named


def _run(words: Sequence[str]) -> "subprocess.CompletedProcess[str] | str":
    try:
        return subprocess.run(  # noqa: S603 (no shell, and nothing from outside is in the words)
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if "--stdout" in words else subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{words[0]} was not done after {TIMEOUT_S:g} s"
    except OSError as e:
        return f"{words[0]}: {e.strerror}"


def _short(line: str, folder: Path) -> str:
    return line.replace(f"{folder}/", "")[:500]
