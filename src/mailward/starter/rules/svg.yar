// SVG pictures, which browsers open as documents and so run their scripts.

private rule svg_file
{
    strings:
        // At the start, after a byte order mark, declaration, comment and document type
        $root = /^(\xef\xbb\xbf)?\s{0,50}(<\?xml[^>]{0,200}>\s{0,50})?(<!--[^>]{0,500}-->\s{0,50})?(<!DOCTYPE[^>]{0,300}>\s{0,50})?<(svg:)?svg[\s>]/ nocase
    condition:
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        (
            mailward_name matches /\.svg[. ]*$/i or mailward_type matches /^image\/svg/ or
            $root
        )
}

private rule svg_with_script
{
    strings:
        $script = /<([a-z]{1,10}:)?(script|handler)[\s>\/]/ nocase
        $handler = /\son(load|begin|end|repeat|error|click|activate|focus(in|out)?|mouse(over|move|down|up|out|enter|leave)|resize|scroll|toggle|pointer[a-z]{2,10}|animation[a-z]{3,10})\s{0,4}=\s{0,4}["']/ nocase
        $address = /href\s{0,4}=\s{0,4}["']\s{0,20}(javascript|vbscript|data:text\/html)/ nocase
    condition:
        any of them
}

rule svg_script
{
    meta:
        name = "Mailward.Svg.Script"
        description = "An SVG picture that runs a script when it is opened or touched."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardsvgscript"
    condition:
        svg_file and svg_with_script
}

rule svg_redirect
{
    meta:
        name = "Mailward.Svg.Redirect"
        description = "An SVG picture whose script leads elsewhere, or hides what it does."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardsvgredirect"
    strings:
        $leave = /location(\.href)?\s{0,4}(=\s{0,4}[^=\s]|\.(replace|assign)\s{0,4}\()/
        $open = /(window|self|top)\.open\s{0,4}\(/
        $write = /document\.write(ln)?\s{0,4}\(/
        $decode = /\b(atob|unescape|String\.fromCharCode|eval|Function)\s{0,4}\(/
        $frame = /createElement(NS)?\s{0,4}\([^)]{0,60}["'](iframe|embed|object|script)["']/ nocase
    condition:
        svg_file and svg_with_script and any of them
}

rule svg_embedded_page
{
    meta:
        name = "Mailward.Svg.EmbeddedPage"
        description = "An SVG picture that shows a web page or form instead of a drawing."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardsvgembeddedpage"
    strings:
        $foreign = /<([a-z]{1,10}:)?foreignObject[\s>]/ nocase
        $active = /<([a-z]{1,10}:)?(iframe|embed|object|form|input|meta)[\s>]/ nocase
    condition:
        // Diagram editors put text into foreignObject, never these
        svg_file and $foreign and @active[#active] > @foreign[1]
}
