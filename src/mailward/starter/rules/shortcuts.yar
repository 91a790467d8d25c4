// Shortcuts: small files that name something to open, here or on another computer.

private rule shell_link
{
    condition:
        // Header size and class, [MS-SHLLINK] 2.1
        uint32(0) == 0x0000004C and uint32(4) == 0x00021401 and uint32(12) == 0x000000C0
}

private rule link_to_interpreter
{
    strings:
        $powershell = "powershell" ascii wide nocase
        $pwsh = "pwsh.exe" ascii wide nocase
        $mshta = "mshta" ascii wide nocase
        $cmd = "cmd.exe" ascii wide nocase
        $comspec = "%comspec%" ascii wide nocase
        $wscript = "wscript" ascii wide nocase
        $cscript = "cscript" ascii wide nocase
        $rundll32 = "rundll32" ascii wide nocase
        $regsvr32 = "regsvr32" ascii wide nocase
        $msiexec = "msiexec" ascii wide nocase
        $forfiles = "forfiles" ascii wide nocase
        $conhost = "conhost.exe" ascii wide nocase
        $certutil = "certutil" ascii wide nocase
        $bitsadmin = "bitsadmin" ascii wide nocase
        $curl = "curl.exe" ascii wide nocase
        $ssh = "ssh.exe" ascii wide nocase
    condition:
        any of them
}

rule shortcut
{
    meta:
        name = "Mailward.Shortcut.Attached"
        description = "A Windows shortcut in a message: it opens whatever its sender chose."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardshortcutattached"
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and shell_link
}

rule shortcut_command
{
    meta:
        name = "Mailward.Shortcut.Command"
        description = "A Windows shortcut that starts a command interpreter or a program that loads code."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardshortcutcommand"
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and
        shell_link and link_to_interpreter
}

rule shortcut_download
{
    meta:
        name = "Mailward.Shortcut.Download"
        description = "A Windows shortcut whose command fetches code, or hides what it runs."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardshortcutdownload"
    strings:
        $address = /https?:\/\// ascii wide nocase
        $webdav = /\\\\[a-z0-9.\-]{3,60}@(ssl|[0-9]{2,5})/ ascii wide nocase
        $encoded = /\s[-\/]e(nc|ncodedcommand|c)?\s{1,4}["']?[A-Za-z0-9+\/]{40}/ ascii wide nocase
        $decode = "FromBase64String" ascii wide nocase
        $fetch = /Download(String|File|Data)/ ascii wide nocase
        $hidden = /\s-w(i|in|indowstyle)?\s{1,4}(h|1\b)/ ascii wide nocase
        $script = /(javascript|vbscript):/ ascii wide nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        shell_link and link_to_interpreter and any of them
}

rule internet_shortcut
{
    meta:
        name = "Mailward.Shortcut.RemoteFile"
        description = "An Internet shortcut that opens a file on another computer."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardshortcutremotefile"
    strings:
        $section = "[InternetShortcut]" nocase
        // file://host/ or \\host\, not file:///C:/; an icon there gives away the reader's password hash
        $target = /^\s{0,9}(URL|IconFile|WorkingDirectory)\s{0,4}=\s{0,4}(file:)?[\/\\]{2}([\/\\]{2,3})?[A-Za-z0-9][A-Za-z0-9.\-]{2,80}(@[A-Za-z0-9]{1,9})?[\/\\]/ nocase
        $target_line = /[\r\n]\s{0,9}(URL|IconFile|WorkingDirectory)\s{0,4}=\s{0,4}(file:)?[\/\\]{2}([\/\\]{2,3})?[A-Za-z0-9][A-Za-z0-9.\-]{2,80}(@[A-Za-z0-9]{1,9})?[\/\\]/ nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and
        filesize < 16KB and $section in (0..512) and ($target or $target_line)
}
