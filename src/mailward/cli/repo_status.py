"""How `mailward repo status` prints what it found."""

from mailward.cli.common import out, print_table, size, when
from mailward.definitions.model import QualityReport
from mailward.publish.status import ChannelStatus, RoleStatus, Status
from mailward.publish.watch_state import WatchState

_SETS_SHOWN = 20
"""The newest; --json has them all."""


def print_status(found: Status) -> None:
    """For people."""
    print_table(
        ["CHANNEL", "VERSION", "SINCE", "SIGNATURES", "SIZE", "TESTED", "ROLL-OUT", "WITHDRAWN"],
        [
            [
                channel,
                str(state.offer.version or "-"),
                when(state.offer.published_at),
                str(state.manifest.signatures) if state.manifest else "-",
                size(state.manifest.size_bytes) if state.manifest else "-",
                _tested(state.manifest.report) if state.manifest else "-",
                _rollout(state, found),
                str(len(state.offer.withdrawn)),
            ]
            for channel, state in found.channels.items()
        ],
    )
    out.print()
    print_table(
        ["ROLE", "NUMBER", "EXPIRES", "SIGNED BY", "KEYS"],
        [
            [role.role, str(role.number), _expiry(role), _signed_by(role), _here(role)]
            for role in found.roles
        ],
    )
    out.print()
    print_table(
        ["SET", "BUILT", "SIGNATURES", "SIZE", "PATCHES", "REPORTS"],
        [
            [
                str(each.manifest.version),
                when(each.manifest.built_at),
                str(each.manifest.signatures),
                size(each.manifest.size_bytes),
                str(len(each.manifest.patches)),
                ", ".join(_tested(report) for report in each.reports.values()) or "-",
            ]
            for each in reversed(found.sets[-_SETS_SHOWN:])
        ],
    )
    out.print()
    if found.watch is not None:
        _print_watch(found.watch, running=found.watch_running)
    sizes = found.sizes
    out.print(
        f"public/ holds {size(sizes.public)}, of it {size(sizes.objects)} objects and"
        f" {size(sizes.patches)} patches"
    )
    for problem in found.problems():
        out.print(f"PROBLEM: {problem}")


def _print_watch(state: WatchState, *, running: bool) -> None:
    print_table(
        ["WATCH", "LAST DONE", "LAST SUCCESS", "RESULT"],
        [
            [name, when(job.ran_at), when(job.succeeded_at), job.result]
            for name, job in sorted(state.jobs.items())
        ],
    )
    out.print(f"watch {'runs' if running else 'does not run'}")


def _tested(report: QualityReport | None) -> str:
    if report is None:
        return "-"
    if report.forced:
        return f"{report.level} forced: {report.forced}"
    return f"{report.level} {'passed' if report.passed else 'FAILED'}"


def _rollout(state: ChannelStatus, found: Status) -> str:
    rollout = state.offer.rollout
    if rollout is None:
        return "-"
    return f"{state.rollout_share(found.at):.0%} of {rollout.hours:g} h"


def _expiry(role: RoleStatus) -> str:
    if role.expired:
        return f"{when(role.expires)} EXPIRED"
    return f"{when(role.expires)} SOON" if role.expires_soon else when(role.expires)


def _signed_by(role: RoleStatus) -> str:
    return f"{role.threshold} of {len(role.keys)}"


def _here(role: RoleStatus) -> str:
    return "here" if role.key_here else "elsewhere"
