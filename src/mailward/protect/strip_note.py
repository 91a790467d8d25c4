"""What a recipient reads in the place of a part that was cut out."""

from dataclasses import dataclass

from mailward.protect.policy import printable_ascii
from mailward.scan.verdict import Verdict

_LINE_MAX = 300


@dataclass(frozen=True, slots=True)
class StripNote:
    """Notes for the parts of one message."""

    verdict: Verdict
    held_as: str
    """What the whole message is called in the quarantine."""

    def text(self, label: str, signed: bool) -> str:
        """For the part of that label; ASCII. ``signed``: a signature over it breaks."""
        part = f"message/{label}"
        names = [file.name for file in self.verdict.files if file.name and _within(file.part, part)]
        risks = dict.fromkeys(r.name for r in self.verdict.risks if _within(r.part, part))
        reasons = dict.fromkeys(
            u.reason.value for u in self.verdict.unopened if _within(u.part, part)
        )
        if risks:
            why = f"it contains {', '.join(risks)}"
        elif reasons:
            why = f"it cannot be scanned ({', '.join(reasons)})"
        else:
            why = "files of this kind are not accepted here"
        lines = [
            "Mailward removed a part of this message.",
            "",
            *(f"Name: {name}" for name in names[:1]),
            f"Why: {why}",
            *(["The signature of this message does not hold any more."] if signed else []),
            "",
            f"The whole message is held as {self.held_as}.",
            "To get it, ask your administrator and give this name.",
        ]
        return "\n".join(printable_ascii(line, _LINE_MAX) for line in lines)


def _within(path: str, part: str) -> bool:
    return path == part or (path.startswith(part) and path[len(part)] in ":/.")
