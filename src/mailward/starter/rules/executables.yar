// Programs, told by their first bytes, whatever they are called.

private rule windows_program
{
    condition:
        // MZ, and the PE header where the MZ header says (PE/COFF specification, section 2)
        uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550
}

private rule windows_installer
{
    condition:
        // A compound file whose root entry has the class of a package, transform or patch;
        // [MS-CFB] 2.2 and 2.6.1: sector shift at 0x1E, first directory sector at 0x30, class at +0x50
        uint32be(0) == 0xD0CF11E0 and uint16(0x1E) <= 12 and
        (
            uint32(((uint32(0x30) + 1) << uint16(0x1E)) + 0x50) == 0x000C1082 or
            uint32(((uint32(0x30) + 1) << uint16(0x1E)) + 0x50) == 0x000C1084 or
            uint32(((uint32(0x30) + 1) << uint16(0x1E)) + 0x50) == 0x000C1086
        )
}

private rule unix_program
{
    condition:
        uint32be(0) == 0x7F454C46 or  // ELF
        uint32be(0) == 0xFEEDFACE or uint32be(0) == 0xFEEDFACF or  // Mach-O
        uint32be(0) == 0xCEFAEDFE or uint32be(0) == 0xCFFAEDFE or
        // Mach-O for several processors, of which there are few; a Java class has its version there
        (uint32be(0) == 0xCAFEBABE and uint32be(4) > 0 and uint32be(4) < 32)
}

private rule java_class
{
    condition:
        uint32be(0) == 0xCAFEBABE and uint16be(6) >= 45 and uint16be(6) < 256
}

private rule document_name
{
    condition:
        mailward_name matches /\.(pdf|do[ct][xm]?|xl[st][xmb]?|pp[ts][xm]?|rtf|od[tspg]|txt|csv|html?|xml|jpe?g|png|gif|bmp|tiff?|webp|svg|ico|heic|mp[34]|wav|avi|mov|mkv|eml|msg|ics|vcf|epub)[. ]*$/i
}

private rule program_name
{
    condition:
        mailward_name matches /\.(exe|scr|com|pif|cpl|dll|ocx|sys|drv|msi|msp|mst|xll|wll|bin|so|o|ko|dylib|bundle|elf|run|class|out)[. ]*$/i
}

rule disguised_executable
{
    meta:
        name = "Mailward.Attachment.DisguisedExecutable"
        description = "A program that is named or declared to be a document, picture or recording."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardattachmentdisguisedexecutable"
    condition:
        (windows_program or windows_installer or unix_program or java_class) and
        (mailward_role == "attachment" or mailward_role == "member" or mailward_role == "file") and
        (
            document_name or
            (
                mailward_type matches /^(image|audio|video)\/|^application\/(pdf|rtf|msword|vnd\.(openxmlformats|ms-(excel|powerpoint|word)|oasis\.opendocument))/ and
                not program_name
            )
        )
}

rule attached_executable
{
    meta:
        name = "Mailward.Attachment.Executable"
        description = "A program attached to a message, told by its content or its name."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardattachmentexecutable"
    condition:
        mailward_role == "attachment" and
        (
            windows_program or windows_installer or unix_program or
            mailward_name matches /\.(exe|scr|pif|cpl|msi|msp|mst|xll|wll|jar|jnlp|appx|appxbundle|msix|msixbundle|appinstaller)[. ]*$/i
        )
}

rule archived_executable
{
    meta:
        name = "Mailward.Archive.Executable"
        description = "A Windows program inside an archive or other container."
        severity = "medium"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardarchiveexecutable"
    condition:
        mailward_role == "member" and
        (
            ((windows_program or windows_installer) and mailward_name matches /\.(exe|com|msi|msp|mst)[. ]*$/i) or
            mailward_name matches /\.(scr|pif|cpl|xll|wll)[. ]*$/i
        )
}
