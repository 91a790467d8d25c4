// What a file name pretends. Windows hides the last extension by default, and drops dots and spaces
// at the end of a name.

rule double_extension
{
    meta:
        name = "Mailward.Name.DoubleExtension"
        description = "A file name with a document's extension before that of a program or script."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardnamedoubleextension"
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        (
            mailward_name matches /\.(pdf|docx?|xlsx?|pptx?|rtf|odt|ods|jpe?g|png|gif|bmp|tiff?|txt|csv|html?|zip|rar|mp[34]|avi|eml|msg)[ ._-]*\.(exe|scr|pif|cpl|jse|vb[se]|ws[fh]|hta|msi|lnk|iso|img|vhdx?)[. ]*$/i or
            // Sources have names such as template.html.js, logo.png.bat and example.zip.com
            mailward_name matches /\.(pdf|docx?|xlsx?|pptx?|rtf|odt|ods)[ ._-]*\.(com|js|ps1|bat|cmd|jar)[. ]*$/i
        )
}

rule hidden_extension
{
    meta:
        name = "Mailward.Name.HiddenExtension"
        description = "A file name that hides a program's extension behind reversed text or a long gap."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardnamehiddenextension"
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        (
            // U+202E shows what follows from right to left: photo_<U+202E>gpj.exe looks like photo_exe.jpg
            mailward_name matches /\xe2\x80\xae.*\.(exe|scr|com|pif|cpl|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|jar|lnk)[. ]*$/is or
            // Spaces of every width: ASCII, U+00A0, U+2000 to U+200B, U+202F, U+2800, U+3000
            mailward_name matches /(\s|\xc2\xa0|\xe2\x80[\x80-\x8b\xaf]|\xe2\xa0\x80|\xe3\x80\x80){5,}\.(exe|scr|com|pif|cpl|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|jar|lnk)[. ]*$/i
        )
}
