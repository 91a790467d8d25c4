"""Amavis as a proxy: takes mail over SMTP, asks the clamd protocol, hands on what is clean."""

import os
import shutil
from pathlib import Path

PROGRAM = "/usr/sbin/amavisd"
_CONFIGURATION = r"""
use strict;
$max_servers = 1;
$daemon_user = $daemon_group = 'amavis';
$MYHOME = '{folder}/home';
$TEMPBASE = "$MYHOME/tmp";
$db_home = "$MYHOME/db";
$helpers_home = $MYHOME;
$pid_file = "$MYHOME/amavisd.pid";
$lock_file = "$MYHOME/amavisd.lock";
$enable_db = 0;
$do_syslog = 0;
$LOGFILE = "$MYHOME/amavis.log";
$log_level = 2;
$mydomain = 'example.org';
$myhostname = 'amavis.example.org';
$inet_socket_port = {port};
$inet_socket_bind = '127.0.0.1';
@inet_acl = ('127.0.0.1');
@local_domains_maps = (1);
@bypass_spam_checks_maps = (1);
@bypass_banned_checks_maps = (1);
@bypass_header_checks_maps = (1);
$enable_dkim_verification = $enable_dkim_signing = 0;
$forward_method = 'smtp:[127.0.0.1]:{hop}';
$notify_method = $forward_method;
$final_virus_destiny = D_REJECT;
$virus_quarantine_method = $virus_admin = undef;
@av_scanners = (
  ['Mailward', \&ask_daemon, ["CONTSCAN {{}}\n", '{clamd}'],
   qr/\bOK$/m, qr/\bFOUND$/m, qr/^.*?: (?!Infected Archive)(.*) FOUND$/m ],
);
@av_scanners_backup = ();
1;
"""


def why_not() -> str:
    """Why it cannot be started here; empty if it can."""
    if not Path(PROGRAM).exists():
        return "needs Amavis, which is not installed"
    if os.geteuid() != 0:
        return "needs root: Amavis works as a user of its own"
    return ""


def command(folder: Path, port: int, hop: int, clamd: str) -> tuple[str, ...]:
    """To run it in the foreground, on ``port``, with ``hop`` behind it and that clamd beside it."""
    folder.mkdir(exist_ok=True)  # where its configuration is it must not be able to write
    for each in (folder / "home", folder / "home/tmp", folder / "home/db"):
        each.mkdir(exist_ok=True)
        shutil.chown(each, "amavis", "amavis")
    conf = folder / "amavisd.conf"
    conf.write_text(_CONFIGURATION.format(folder=folder, port=port, hop=hop, clamd=clamd))
    return PROGRAM, "-c", str(conf), "foreground"
