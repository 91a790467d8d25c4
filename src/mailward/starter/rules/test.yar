// The harmless file that shows whether a scanner is at work, by its owner's definition
// (https://www.eicar.org/download-anti-malware-testfile/): 68 bytes at the start, after which only
// white space may follow, 128 bytes in all. In hexadecimal, so that this file is not one.

import "math"

rule eicar
{
    meta:
        name = "Mailward.Test.EICAR"
        description = "The EICAR test file: harmless, made to show that a scanner works."
        severity = "low"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardtesteicar"
    strings:
        // suppress: text_as_hex
        $eicar = {
            58 35 4F 21 50 25 40 41 50 5B 34 5C 50 5A 58 35 34 28 50 5E 29 37 43 43 29 37 7D 24
            45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 2D 54 45 53
            54 2D 46 49 4C 45 21 24 48 2B 48 2A
        }
    condition:
        filesize <= 128 and $eicar at 0 and
        (
            filesize == 68 or
            for all i in (68..math.min(filesize, 128) - 1) : (
                uint8(i) == 0x20 or uint8(i) == 0x09 or uint8(i) == 0x0A or
                uint8(i) == 0x0D or uint8(i) == 0x1A
            )
        )
}
