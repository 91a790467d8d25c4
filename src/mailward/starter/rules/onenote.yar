// OneNote sections with files in them, [MS-ONESTORE]. Loops are bounded, so that no file
// can make them long.

import "math"

private rule onenote_section
{
    strings:
        // {7B5C52E4-D88C-4DA7-AEB1-5378D02996D3}, 2.3.1
        $header = { E4 52 5C 7B 8C D8 A7 4D AE B1 53 78 D0 29 96 D3 }
    condition:
        mailward_role != "message" and $header at 0
}

rule onenote_program
{
    meta:
        name = "Mailward.OneNote.Program"
        description = "A OneNote section with a program, shortcut, help file or HTML application in it."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardonenoteprogram"
    strings:
        // FileDataStoreObject {BDE316E7-2665-4511-A4C4-8D4D0B7A9EAC}, 2.6.13: length (8), unused (4),
        // reserved (8), then the file: PE, shortcut or compiled help
        $binary = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC [20] (4D 5A | 4C 00 00 00 01 14 02 00 | 49 54 53 46 03 00) }
        $file = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC }
        $application = "<hta:application" ascii wide nocase
    condition:
        onenote_section and
        (
            $binary or
            for any i in (1..math.min(#file, 256)) : (
                $application in (@file[i] + 36..@file[i] + 36 + uint32(@file[i] + 16))
            )
        )
}

rule onenote_script
{
    meta:
        name = "Mailward.OneNote.Script"
        description = "A OneNote section with a script in it that the reader is to double-click."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardonenotescript"
    strings:
        $file = { E7 16 E3 BD 65 26 11 45 A4 C4 8D 4D 0B 7A 9E AC }
        $batch = "@echo off" ascii wide nocase
        $html = /<script[\s>]/ ascii wide nocase
        $host = /(WScript\.|CreateObject\s?\(|new ActiveXObject)/ ascii wide nocase
        $powershell = /\b(powershell|mshta|rundll32|certutil|bitsadmin)(\.exe)?\s/ ascii wide nocase
        $encoded = "#@~^"
    condition:
        onenote_section and
        for any i in (1..math.min(#file, 256)) : (
            for any of ($batch, $html, $host, $powershell, $encoded) : (
                $ in (@file[i] + 36..@file[i] + 36 + uint32(@file[i] + 16))
            )
        )
}
