// Rich text with objects in it. Objects are hexadecimal text, which attackers break up with white
// space and groups.

private rule rtf_file
{
    condition:
        mailward_role != "message" and mailward_role != "body" and uint32be(0) == 0x7B5C7274
}

private rule rtf_equation
{
    strings:
        // "Equation.2" and "Equation.3" in hexadecimal at the start of an object, broken up or not
        $name = /\\objdata.{0,600}4\s{0,40}5\s{0,40}7\s{0,40}1\s{0,40}7\s{0,40}5\s{0,40}6\s{0,40}1\s{0,40}7\s{0,40}4\s{0,40}6\s{0,40}9\s{0,40}6\s{0,40}f\s{0,40}6\s{0,40}e\s{0,40}2\s{0,40}e\s{0,40}3\s{0,40}[23]/is
        // {0002CE02-0000-0000-C000-000000000046} as a compound file holds it
        $class = /02ce0200\s{0,4}00000000\s{0,4}c0000000\s{0,4}00000046/ nocase
        $objclass = /\\objclass\s{1,9}Equation\.[23]/ nocase
    condition:
        any of them
}

rule rtf_equation_object
{
    meta:
        name = "Mailward.Rtf.EquationObject"
        description = "A rich text document with an object of the old equation editor, which runs code when shown."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardrtfequationobject"
    condition:
        rtf_file and rtf_equation
}

rule rtf_equation_exploit
{
    meta:
        name = "Mailward.Rtf.EquationExploit"
        description = "A rich text document that loads the old equation editor by itself or hides that it does."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardrtfequationexploit"
    strings:
        $update = "\\objupdate"
        // The class name with white space between the digits of its letters
        $broken = /4\s{0,40}5\s{1,40}7\s{1,40}1\s{0,40}7\s{0,40}5\s{0,40}6\s{0,40}1\s{0,40}7\s{0,40}4/
        // Anything but "{\rtf1" at the start: Word does not mind, and scanners miss it
        $header = "{\\rtf1"
    condition:
        rtf_file and rtf_equation and ($update or $broken or not $header at 0)
}

rule rtf_packaged_program
{
    meta:
        name = "Mailward.Rtf.PackagedProgram"
        description = "A rich text document with a program or script packed into an object."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardrtfpackagedprogram"
    strings:
        // "Package" in hexadecimal, then a name that ends ".exe" and a zero, or an MZ header
        $package = /\\objdata.{0,200}5061636b616765\s{0,4}00/is
        $name = /2e\s{0,2}(657865|736372|706966|63706c|6a73|6a7365|766273|766265|777366|687461|707331|626174|636d64|6c6e6b|736374)\s{0,2}00/ nocase
        $header = "4d5a90000300000004000000" nocase
    condition:
        rtf_file and $package and ($name or $header)
}

rule rtf_remote_object
{
    meta:
        name = "Mailward.Rtf.RemoteObject"
        description = "A rich text document that fetches an object from the network and opens it by itself."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardrtfremoteobject"
    strings:
        $auto = /\\obj(update|autlink)/
        // URL moniker {79EAC9E0-BAF9-11CE-8C82-00AA004BA90B}, [MS-OSHARED] 2.3.7.6, and "htt" in UTF-16LE
        $moniker = /e0c9ea79f9bace11\s{0,4}8c8200aa004ba90b/ nocase
        $address = /6800\s{0,2}7400\s{0,2}7400\s{0,2}7000/
    condition:
        rtf_file and $auto and $moniker and $address
}

rule rtf_remote_template
{
    meta:
        name = "Mailward.Rtf.RemoteTemplate"
        description = "A rich text document that loads its template from the network when it is opened."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardrtfremotetemplate"
    strings:
        $plain = /\\\*\s{0,4}\\template\s{0,9}(https?:|ftp:|\\\\\\\\)/ nocase
        // The address in numeric characters: "\u-65432?" and so on
        $escaped = /\\\*\s{0,4}\\template\s{0,9}(\\u-?[0-9]{2,6}\s{0,2}\??\s{0,2}){4}/ nocase
    condition:
        rtf_file and ($plain or $escaped)
}
