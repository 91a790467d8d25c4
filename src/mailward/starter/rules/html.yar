// HTML files that arrive as attachments and open in a browser, outside the mail client's protection.

private rule html_file
{
    condition:
        (mailward_role != "message" and mailward_name matches /\.(s|x)?html?[. ]*$/i) or
        (
            (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
            (mailward_type == "text/html" or mailward_type == "application/xhtml+xml")
        )
}

private rule html_saves_file
{
    strings:
        $blob = /new\s{1,4}(window\.|self\.)?(Blob|File)\s{0,4}\(/
        $address = "createObjectURL"
        $old = /msSave(OrOpen)?Blob/
        $attribute = /(\.download\s{0,4}=|["'`]download["'`])/
    condition:
        ($blob and $address and $attribute) or ($blob and $old)
}

rule html_smuggling
{
    meta:
        name = "Mailward.Html.Smuggling"
        description = "A web page that builds a file out of text that it carries, and saves it."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardhtmlsmuggling"
    strings:
        $decode1 = /\batob\b/
        $decode2 = "fromCharCode"
        $decode3 = "charCodeAt"
        $decode4 = "Uint8Array"
        $decode5 = "fromBase64"
        $text = /[=(,\[:+]\s?["'`][A-Za-z0-9+\/]{256}/
        $numbers = /\[\s{0,4}(77\s{0,2},\s{0,2}90|80\s{0,2},\s{0,2}75\s{0,2},\s{0,2}3|0x4d\s{0,2},\s{0,2}0x5a|0x50\s{0,2},\s{0,2}0x4b)\s{0,2},/ nocase
        $uri = /data:application\/(octet-stream|(x-)?zip(-compressed)?|x-msdownload|x-iso9660-image|x-rar(-compressed)?|x-7z-compressed|java-archive|hta|javascript|x-javascript)[^"'`,]{0,40};base64,[A-Za-z0-9+\/]{64}/ nocase
        $click = /(\.click\s{0,4}\(|dispatchEvent\s{0,4}\()/
    condition:
        html_file and
        (
            (html_saves_file and any of ($decode*) and ($text or $numbers)) or
            ($uri and $click)
        )
}

rule html_smuggled_program
{
    meta:
        name = "Mailward.Html.SmuggledProgram"
        description = "A web page that carries a Windows program or shortcut as text and saves it as a file."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardhtmlsmuggledprogram"
    strings:
        // The first bytes of a PE file or a shortcut in base64, and more of it behind
        $program = /["'`,](TV(qQAA|pQAA|qAAA|oAAA|pBUl|roAA)|TAAAAAEUAgAAAAAAwAAAAAAAAE)[A-Za-z0-9+\/]{128}/
    condition:
        html_file and $program and html_saves_file
}

rule html_encoded_redirect
{
    meta:
        name = "Mailward.Html.EncodedRedirect"
        description = "A web page that sends the reader on to an address that it holds in encoded form."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardhtmlencodedredirect"
    strings:
        $decoded = /location(\.href)?\s{0,4}(=|\.(replace|assign)\s{0,4}\()\s{0,4}(window\.)?(atob|unescape|String\.fromCharCode)\s{0,4}\(/
        $page = /location(\.href)?\s{0,4}(=|\.(replace|assign)\s{0,4}\()\s{0,4}["'`]data:text\/html/ nocase
        $refresh = /http-equiv\s{0,4}=\s{0,4}["']?refresh[^>]{0,100}url\s{0,4}=\s{0,4}["']?(data:text\/html|javascript:)/ nocase
        // "http://" and "https://" in base64, decoded in place
        $address = /atob\s{0,4}\(\s{0,4}["'`]aHR0c(HM6Ly|DovL)/
        $location = /location(\.href)?\s{0,4}(=|\.(replace|assign)\s{0,4}\()/
    condition:
        html_file and ($decoded or $page or $refresh or ($address and $location))
}

rule html_encoded_page
{
    meta:
        name = "Mailward.Html.EncodedPage"
        description = "A web page whose real content is encoded and written by a script."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardhtmlencodedpage"
    strings:
        $base64 = /(document\.write(ln)?\s{0,4}\(|\beval\s{0,4}\(|innerHTML\s{0,4}=)\s{0,4}(decodeURIComponent\s{0,4}\(\s{0,4}escape\s{0,4}\(\s{0,4})?(window\.)?atob\s{0,4}\(\s{0,4}["'`][A-Za-z0-9+\/]{64}/
        // Every character escaped; analytics code escapes only its angle brackets
        $percent = /(unescape|decodeURIComponent)\s{0,4}\(\s{0,4}["'`](%u?[0-9A-Fa-f]{2,4}){64}/
        $write = /(document\.write|\beval\s{0,4}\(|innerHTML)/
    condition:
        html_file and ($base64 or ($percent and $write))
}

rule html_password_form
{
    meta:
        name = "Mailward.Html.PasswordForm"
        description = "An attached web page that asks for a password and sends it to another computer."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardhtmlpasswordform"
    strings:
        $password = /(<input[^>]{0,250}\stype\s{0,4}=\s{0,4}["']?password\b|\.type\s{0,4}=\s{0,4}["']password["'])/ nocase
        $form = /<form[^>]{0,250}\saction\s{0,4}=\s{0,4}["']?\s{0,4}https?:\/\// nocase
        $send = /(fetch\s{0,4}\(|\.post\s{0,4}\(|\.open\s{0,4}\(\s{0,4}["']POST["']\s{0,4},|url\s{0,4}:)\s{0,4}["'`]https?:\/\// nocase
        $hidden = /(fetch\s{0,4}\(|\.post\s{0,4}\(|url\s{0,4}:|\.action\s{0,4}=)\s{0,4}(window\.)?atob\s{0,4}\(/ nocase
    condition:
        html_file and $password and ($form or $send or $hidden)
}

rule html_telegram
{
    meta:
        name = "Mailward.Html.TelegramExfiltration"
        description = "A web page that asks for a password and hands it to a Telegram bot."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardhtmltelegramexfiltration"
    strings:
        $password = /(<input[^>]{0,250}\stype\s{0,4}=\s{0,4}["']?password\b|\.type\s{0,4}=\s{0,4}["']password["'])/ nocase
        $bot = "api.telegram.org/bot" nocase
        $encoded = "aHR0cHM6Ly9hcGkudGVsZWdyYW0ub3JnL2Jvd"  // the same after https:// in base64
    condition:
        html_file and $password and ($bot or $encoded)
}
