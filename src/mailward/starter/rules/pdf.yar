// PDF actions. Names may be spelt with "#" and two hexadecimal digits for any character
// (ISO 32000-1, 7.3.5). What is inside compressed object streams is not seen.
// Loops are bounded, so that no file can make them long.

import "math"

private rule pdf_file
{
    strings:
        $header = "%PDF-"
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        $header in (0..1024)
}

rule pdf_launch_program
{
    meta:
        name = "Mailward.Pdf.LaunchProgram"
        description = "A PDF with an action that starts a program or script."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardpdflaunchprogram"
    strings:
        $launch = /\/(L|#4[cC])(a|#61)(u|#75)(n|#6[eE])(c|#63)(h|#68)[\s\/>]/
        $windows = /\/Win\s{0,9}<</
        $program = /\/(F|UF)\s{0,9}\([^)\r\n]{0,200}(\.(exe|scr|com|pif|cpl|dll|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|lnk|jar|iso|img|settingcontent-ms|library-ms|chm|xll)|\b(cmd|powershell|mshta|wscript|cscript|rundll32))\s{0,9}\)/ nocase
    condition:
        // Within one action, in any order: its dictionary is short
        pdf_file and
        for any i in (1..math.min(#launch, 256)) : (
            $program in (@launch[i] - 400..@launch[i] + 400) or
            $windows in (@launch[i] - 400..@launch[i] + 400)
        )
}

rule pdf_launch_on_opening
{
    meta:
        name = "Mailward.Pdf.LaunchOnOpening"
        description = "A PDF that opens another file by itself when it is opened."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardpdflaunchonopening"
    strings:
        $inline = /\/(O|#4[fF])(p|#70)(e|#65)(n|#6[eE])(A|#41)(c|#63)(t|#74)(i|#69)(o|#6[fF])(n|#6[eE])\s{0,9}<<[^>]{0,200}\/(L|#4[cC])(a|#61)(u|#75)(n|#6[eE])(c|#63)(h|#68)[\s\/>]/
        $action = /\/OpenAction [0-9]{1,7} [0-9]{1,5} R/
        $object = /\s[0-9]{1,7} [0-9]{1,5} obj\s{0,9}<<[^>]{0,300}\/(L|#4[cC])(a|#61)(u|#75)(n|#6[eE])(c|#63)(h|#68)[\s\/>]/
    condition:
        pdf_file and
        (
            $inline or
            // The object that the action refers to: the same digits, from behind "/OpenAction "
            for any i in (1..math.min(#action, 16)) : (
                for any j in (1..math.min(#object, 4096)) : (
                    for all k in (12..!action[i] - 2) : (
                        uint8(@action[i] + k) == uint8(@object[j] + k - 11)
                    )
                )
            )
        )
}

rule pdf_script_on_opening
{
    meta:
        name = "Mailward.Pdf.ScriptOnOpening"
        description = "A PDF that runs JavaScript by itself when it or one of its pages is opened."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardpdfscriptonopening"
    strings:
        $inline = /\/(O|#4[fF])(p|#70)(e|#65)(n|#6[eE])(A|#41)(c|#63)(t|#74)(i|#69)(o|#6[fF])(n|#6[eE])\s{0,9}<<[^>]{0,200}\/((J|#4[aA])(S|#53)|(J|#4[aA])(a|#61)(v|#76)(a|#61)(S|#53)(c|#63)(r|#72)(i|#69)(p|#70)(t|#74))[\s(<\/\[]/
        $page_inline = /\/(A|#41)(A|#41)\s{0,9}<<[^>]{0,100}\/(O|#4[fF])\s{0,9}<<[^>]{0,200}\/((J|#4[aA])(S|#53)|(J|#4[aA])(a|#61)(v|#76)(a|#61)(S|#53)(c|#63)(r|#72)(i|#69)(p|#70)(t|#74))[\s(<\/\[]/
        $action = /\/OpenAction [0-9]{1,7} [0-9]{1,5} R/
        $page_action = /\/O [0-9]{1,7} [0-9]{1,5} R/
        $object = /\s[0-9]{1,7} [0-9]{1,5} obj\s{0,9}<<[^>]{0,300}\/((J|#4[aA])(S|#53)|(J|#4[aA])(a|#61)(v|#76)(a|#61)(S|#53)(c|#63)(r|#72)(i|#69)(p|#70)(t|#74))[\s(<\/\[]/
        $script = /\/JS\s{0,9}[(<0-9]/
        $print = /\/JS\s{0,9}\(\s{0,9}(this\.)?print\s{0,9}\(/
    condition:
        pdf_file and
        (
            $inline or $page_inline or
            // The object that the action refers to: the same digits, from behind "/OpenAction " or "/O "
            for any i in (1..math.min(#action, 16)) : (
                for any j in (1..math.min(#object, 4096)) : (
                    for all k in (12..!action[i] - 2) : (
                        uint8(@action[i] + k) == uint8(@object[j] + k - 11)
                    )
                )
            ) or
            for any i in (1..math.min(#page_action, 256)) : (
                for any j in (1..math.min(#object, 4096)) : (
                    for all k in (3..!page_action[i] - 2) : (
                        uint8(@page_action[i] + k) == uint8(@object[j] + k - 2)
                    )
                )
            )
        ) and
        // Invoices and labels that open the print dialogue
        not (#script > 0 and #script == #print)
}

rule pdf_hidden_action
{
    meta:
        name = "Mailward.Pdf.HiddenAction"
        description = "A PDF that spells the name of an action in code, which no honest program does."
        severity = "high"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardpdfhiddenaction"
    strings:
        $script = /\/((J|#4[aA])(S|#53)|(J|#4[aA])(a|#61)(v|#76)(a|#61)(S|#53)(c|#63)(r|#72)(i|#69)(p|#70)(t|#74))[\s(<\/\[]/
        $script_plain = /\/(JS|JavaScript)[\s(<\/\[]/
        $launch = /\/(L|#4[cC])(a|#61)(u|#75)(n|#6[eE])(c|#63)(h|#68)[\s\/>]/
        $launch_plain = /\/Launch[\s\/>]/
        $open = /\/(O|#4[fF])(p|#70)(e|#65)(n|#6[eE])(A|#41)(c|#63)(t|#74)(i|#69)(o|#6[fF])(n|#6[eE])[\s<\[\/]/
        $open_plain = /\/OpenAction[\s<\[\/]/
    condition:
        pdf_file and
        (#script > #script_plain or #launch > #launch_plain or #open > #open_plain)
}

rule pdf_opens_attachment
{
    meta:
        name = "Mailward.Pdf.OpensAttachment"
        description = "A PDF whose script saves a file that it carries and starts it."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardpdfopensattachment"
    strings:
        // Acrobat JavaScript: nLaunch 1 asks where to save, 2 does not
        $export = /exportDataObject\s{0,9}\([^)]{0,300}nLaunch["']?\s{0,9}:\s{0,9}[12]/
    condition:
        pdf_file and $export
}

rule pdf_embedded_program
{
    meta:
        name = "Mailward.Pdf.EmbeddedProgram"
        description = "A PDF that carries a file with the name of a program or script."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardpdfembeddedprogram"
    strings:
        $specification = /\/EF\s{0,9}(<<|[0-9])/
        $text = /\/(F|UF)\s{0,9}\([^)\r\n]{1,200}\.(exe|scr|com|pif|cpl|dll|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|lnk|jar|iso|img|settingcontent-ms|library-ms|chm|xll)\s{0,9}\)/ nocase
        $utf16 = /\/(F|UF)\s{0,9}\(\xfe\xff[^)\r\n]{1,400}\x00\.\x00(e\x00x\x00e|s\x00c\x00r|j\x00s|j\x00s\x00e|v\x00b\x00[se]|w\x00s\x00f|h\x00t\x00a|p\x00s\x001|b\x00a\x00t|c\x00m\x00d|l\x00n\x00k)\)/ nocase
        $digits = /\/(F|UF)\s{0,9}<[0-9a-f]{2,400}2e(00)?(65(00)?78(00)?65|73(00)?63(00)?72|6a(00)?73|76(00)?62(00)?73|68(00)?74(00)?61|70(00)?73(00)?31|62(00)?61(00)?74|63(00)?6d(00)?64|6c(00)?6e(00)?6b)>/ nocase
    condition:
        pdf_file and $specification and ($text or $utf16 or $digits)
}
