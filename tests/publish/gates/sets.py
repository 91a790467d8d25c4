"""What the tests of the gates share."""

from mailward.definitions.model import ShardKind
from mailward.publish.feeds import Draft, Reading
from mailward.publish.feeds.base import yara_lines


class Rules:
    """A feed of YARA rules, by namespace."""

    def __init__(self, rules: dict[str, str]) -> None:
        self.name = "rules"
        self._rules = rules

    def read(self) -> Reading:
        content = yara_lines(self._rules.items())
        return Reading((Draft("yara/rules.jsonl", ShardKind.YARA, content, len(self._rules)),))


def rule(name: str, text: str) -> str:
    return f'rule {name} {{ strings: $a = "{text}" condition: $a }}'


def no_progress(step: str, done: int, total: int) -> None:
    pass
