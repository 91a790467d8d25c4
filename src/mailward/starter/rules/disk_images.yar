// Disk images: Windows opens them like folders, and what is inside has no mark of coming from
// the Internet. Loops are bounded, so that no file can make them long.

import "math"

private rule optical_image
{
    condition:
        // A volume descriptor at sector 16: ISO 9660 (ECMA-119, 8.1) or UDF (ECMA-167, part 2, 9.1)
        filesize > 34816 and
        (
            (uint32be(0x8001) == 0x43443030 and uint8(0x8005) == 0x31) or
            (uint32be(0x8001) == 0x42454130 and uint8(0x8005) == 0x31)
        )
}

private rule hard_disk_image
{
    strings:
        $vhd = "conectix"
        $vhdx = "vhdxfile"
    condition:
        $vhd at 0 or $vhd at (filesize - 512) or $vhdx at 0 or
        (
            // A boot sector or partition table and nothing shorter than a diskette
            uint16(510) == 0xAA55 and filesize >= 163840 and filesize % 512 == 0 and
            uint16(0) != 0x5A4D and mailward_name matches /\.(img|ima|vfd|flp|bin|dd|raw|iso)[. ]*$/i
        )
}

private rule aligned_program
{
    strings:
        $pe = { 50 45 00 00 (4C 01 | 64 86 | 64 AA | C4 01) }
    condition:
        // The PE header where the MZ header at the start of its sector says
        for any i in (1..math.min(#pe, 4096)) : (
            uint16(@pe[i] - @pe[i] % 512) == 0x5A4D and
            uint32(@pe[i] - @pe[i] % 512 + 0x3C) == @pe[i] % 512
        )
}

rule disk_image_program
{
    meta:
        name = "Mailward.DiskImage.Program"
        description = "A disk image that holds a program or script."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwarddiskimageprogram"
    strings:
        // ISO 9660 directory record: volume sequence number in both byte orders, length, name (ECMA-119, 9.1)
        $iso = /\x01\x00\x00\x01[\x05-\x80][ -~]{1,60}\.(exe|scr|com|pif|cpl|dll|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|chm)(;1)?/ nocase
        // The same of a Joliet volume, in UTF-16BE
        $joliet = /\x01\x00\x00\x01[\x05-\xfe](..){1,64}\x00\.\x00(e\x00x\x00e|s\x00c\x00r|c\x00o\x00m|p\x00i\x00f|c\x00p\x00l|d\x00l\x00l|j\x00s|v\x00b\x00[se]|w\x00s\x00[fh]|h\x00t\x00a|p\x00s\x001|b\x00a\x00t|c\x00m\x00d|m\x00s\x00i|c\x00h\x00m)/s nocase
        // UDF file identifier: tag 257, version 1, identifier in 8 bit characters (ECMA-167, part 4, 14.4)
        $udf8 = /\x01\x01[\x02\x03]\x00.{12}\x01\x00.{18}.{0,80}\x08[ -~]{1,100}\.(exe|scr|com|pif|cpl|dll|jse?|vb[se]|ws[fh]|hta|ps1|bat|cmd|msi|chm)/is
        // or in 16 bit ones
        $udf16 = /\x01\x01[\x02\x03]\x00.{12}\x01\x00.{18}.{0,80}\x10(..){1,64}\x00\.\x00(e\x00x\x00e|s\x00c\x00r|c\x00o\x00m|p\x00i\x00f|c\x00p\x00l|d\x00l\x00l|j\x00s|v\x00b\x00[se]|w\x00s\x00[fh]|h\x00t\x00a|p\x00s\x001|b\x00a\x00t|c\x00m\x00d|m\x00s\x00i|c\x00h\x00m)/is
        // NTFS keeps names in UTF-16LE
        $ntfs = /(..){4}\.\x00(e\x00x\x00e|s\x00c\x00r|p\x00i\x00f|c\x00p\x00l|d\x00l\x00l|j\x00s|v\x00b\x00[se]|w\x00s\x00[fh]|h\x00t\x00a|p\x00s\x001|b\x00a\x00t|c\x00m\x00d|m\x00s\x00i)\x00/is
        // FAT short name: eight characters, three of extension, attributes without the volume bit
        $fat = /[A-Z0-9_~!#$%&'()@^`{}\-]{1,8} {0,7}(EXE|SCR|COM|PIF|CPL|DLL|JS |JSE|VBS|VBE|WSF|WSH|HTA|PS1|BAT|CMD|MSI)[\x00-\x07\x20-\x27][\x00\x08\x10\x18]/
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and
        (
            (optical_image and ($iso or $joliet or $udf8 or $udf16 or aligned_program)) or
            (hard_disk_image and ($ntfs or $fat or aligned_program))
        )
}

rule disk_image_shortcut
{
    meta:
        name = "Mailward.DiskImage.Shortcut"
        description = "A disk image that holds a shortcut: the reader's click then starts what is hidden beside it."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwarddiskimageshortcut"
    strings:
        $link = { 4C 00 00 00 01 14 02 00 00 00 00 00 C0 00 00 00 00 00 00 46 }
    condition:
        (mailward_role == "attachment" or mailward_role == "member") and
        (optical_image or hard_disk_image) and
        for any i in (1..math.min(#link, 4096)) : (@link[i] % 512 == 0)
}
