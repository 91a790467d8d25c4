// Scripts and other text that Windows runs.

private rule script_name
{
    condition:
        mailward_name matches /\.(jse?|vb[se]|ws[cfh]?|hta|sct|ps1|psm1|ps1xml|psc1|bat|cmd)[. ]*$/i
}

rule attached_script
{
    meta:
        name = "Mailward.Attachment.Script"
        description = "An attachment of a kind that Windows runs or trusts when it is opened."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardattachmentscript"
    condition:
        mailward_role == "attachment" and
        (
            script_name or
            mailward_name matches /\.(reg|inf|scf|msc|chm|hlp|rdp|appref-ms|application|settingcontent-ms|library-ms|search-ms|searchconnector-ms|theme|diagcab|iqy)[. ]*$/i
        )
}

rule archived_script
{
    meta:
        name = "Mailward.Archive.Script"
        description = "A script of a kind that honest archives hardly ever hold, inside an archive."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardarchivescript"
    condition:
        mailward_role == "member" and
        mailward_name matches /\.(jse|vbe|wsf|wsh|hta|sct|scf|settingcontent-ms|library-ms|search-ms|searchconnector-ms)[. ]*$/i
}

rule script_downloader
{
    meta:
        name = "Mailward.Script.Downloader"
        description = "A script that fetches something from the network and runs it or writes it to disk."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardscriptdownloader"
    strings:
        $fetch1 = /(MSXML2|Microsoft)\.(Server)?XMLHTTP/ ascii wide nocase
        $fetch2 = "WinHttp.WinHttpRequest" ascii wide nocase
        $fetch3 = /\.Download(String|File|Data)/ ascii wide nocase
        $fetch4 = "Invoke-WebRequest" ascii wide nocase
        $fetch5 = "Start-BitsTransfer" ascii wide nocase
        $fetch6 = /(bitsadmin|certutil)(\.exe)?\s[^\r\n]{0,200}https?:/ ascii wide nocase
        $fetch7 = /(curl|wget|iwr)(\.exe)?\s[^\r\n]{0,200}https?:/ ascii wide nocase
        $run1 = "WScript.Shell" ascii wide nocase
        $run2 = "Shell.Application" ascii wide nocase
        $run3 = "ADODB.Stream" ascii wide nocase
        $run4 = "Start-Process" ascii wide nocase
        $run5 = "Invoke-Expression" ascii wide nocase
        $run6 = "ShellExecute" ascii wide nocase
        $run7 = /([|;]\s{0,4}iex\b|\biex\s{0,4}[($])/ ascii nocase
        $run8 = /\b(rundll32|regsvr32|mshta)(\.exe)?\s/ ascii nocase
        $run9 = /\bstart\s[^\r\n]{0,100}\.(exe|dll|msi|bat|cmd|vbs|js|hta|ps1)\b/ ascii nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and script_name and
        any of ($fetch*) and any of ($run*)
}

rule script_encoded_command
{
    meta:
        name = "Mailward.Script.EncodedCommand"
        description = "A script that hands PowerShell an encoded command."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardscriptencodedcommand"
    strings:
        $command = /powershell[^\r\n]{0,200}\s[-\/]e(c|nc|ncodedcommand)?\s+["']?[A-Za-z0-9+\/]{40}/ ascii nocase
        $decoded = /FromBase64String[^\r\n]{0,300}(iex|Invoke-Expression|\.Invoke\()/ ascii nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and script_name and any of them
}

rule disguised_script
{
    meta:
        name = "Mailward.Attachment.DisguisedScript"
        description = "A script that is named as a document, picture or archive."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardattachmentdisguisedscript"
    strings:
        $shell = /^(\xef\xbb\xbf)?#! ?\/(usr\/)?bin\//
        $batch = /^(\xef\xbb\xbf)?\s{0,20}@echo off/ nocase
        $encoded = "#@~^"
        $application = "<hta:application" nocase
        $job = /<job(\s[^>]{0,100})?>\s{0,100}<script/ nocase
        $host = /(WScript\.(Shell|CreateObject|Echo|Sleep|Quit)|CreateObject\s?\(\s?"(WScript|Scripting|Shell)\.|new ActiveXObject\()/ nocase
        $powershell = /^(\xef\xbb\xbf)?\s{0,20}(powershell(\.exe)?\s|cmd(\.exe)?\s{1,9}\/c)/ nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        // Not .txt or .html: people send scripts as text, and web pages are scripts
        mailward_name matches /\.(pdf|do[ct][xm]?|xl[st][xmb]?|pp[ts][xm]?|rtf|od[tspg]|jpe?g|png|gif|bmp|tiff?|webp|mp[34]|wav|avi|zip|rar|7z)[. ]*$/i and
        (
            $shell or $batch or $powershell or $encoded in (0..16) or $job in (0..1024) or
            $application in (0..2048) or
            // Text, not the strings of a document that happens to hold such words
            ($host in (0..4096) and uint8(0) != 0x25 and uint8(0) < 0x7B and uint16(0) != 0x4B50)
        )
}
