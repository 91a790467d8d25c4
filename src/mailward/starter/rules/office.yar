// Office documents: macros, links and objects.

import "math"

private rule compound_file
{
    condition:
        uint32be(0) == 0xD0CF11E0 and mailward_role != "message"
}

private rule vba_project
{
    strings:
        // How compressed source begins ([MS-OVBA] 2.4.1): "Attribute VB_Name" cut by flag bytes
        $source = { 00 41 74 74 72 69 62 75 74 00 65 20 56 42 5F 4E 61 6D }
        $project = "_VBA_PROJECT" wide
    condition:
        compound_file and ($source or $project)
}

// Where VBA is seen. Office keeps names and texts of compiled code in clear in the same streams. The
// source is compressed: eight pieces, a flag byte, eight pieces. A word that occurs for the first time
// is there letter by letter with at most one byte in eight between, so the patterns below are at most
// eight letters long and let one byte stand anywhere.

private rule vba_starts_by_itself
{
    strings:
        $event1 = /\b(Auto_?(Open|Exec|Close)|Document_?(Open|Close)|Workbook_?(Open|Activate|BeforeClose))\b/ nocase
        $event2 = /(_Layout|_Painted|_MouseHover|_BeforeNavigate2)\b/ nocase
        $part1 = /(AutoOpen|A.utoOpen|Au.toOpen|Aut.oOpen|Auto.Open|AutoO.pen|AutoOp.en|AutoOpe.n)/s nocase
        $part2 = /(to_Open\(|t.o_Open\(|to._Open\(|to_.Open\(|to_O.pen\(|to_Op.en\(|to_Ope.n\(|to_Open.\()/s nocase
        $part3 = /(t_Open\(\)|t._Open\(\)|t_.Open\(\)|t_O.pen\(\)|t_Op.en\(\)|t_Ope.n\(\)|t_Open.\(\)|t_Open\(.\))/s nocase
        $part4 = /(k_Open\(\)|k._Open\(\)|k_.Open\(\)|k_O.pen\(\)|k_Op.en\(\)|k_Ope.n\(\)|k_Open.\(\)|k_Open\(.\))/s nocase
        // "Document" and "Workbook" were there before ("ThisDocument"): a reference takes their place
        $part5 = /(_Open\(\)|_.Open\(\)|_O.pen\(\)|_Op.en\(\)|_Ope.n\(\)|_Open.\(\)|_Open\(.\))/s nocase
    condition:
        any of them
}

rule macro_runs
{
    meta:
        name = "Mailward.Office.AutoMacroRuns"
        description = "A document with a macro that starts by itself and runs programs."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardofficeautomacroruns"
    strings:
        // The function Shell: in the table of names (length, flags, name), and where source calls it
        $name = /\x05[\x00\x80]Shell/
        $call1 = /(Shell "|S.hell "|Sh.ell "|She.ll "|Shel.l "|Shell. "|Shell .")/s nocase
        $call2 = /(Shell\("|S.hell\("|Sh.ell\("|She.ll\("|Shel.l\("|Shell.\("|Shell\(.")/s nocase
        $part1 = /(WScript\.|W.Script\.|WS.cript\.|WSc.ript\.|WScr.ipt\.|WScri.pt\.|WScrip.t\.|WScript.\.)/s nocase
        $part2 = /(Shell\.Ap|S.hell\.Ap|Sh.ell\.Ap|She.ll\.Ap|Shel.l\.Ap|Shell.\.Ap|Shell\..Ap|Shell\.A.p)/s nocase
        $part3 = /(powershe|p.owershe|po.wershe|pow.ershe|powe.rshe|power.she|powers.he|powersh.e)/s nocase
        $part4 = /(ShellExe|S.hellExe|Sh.ellExe|She.llExe|Shel.lExe|Shell.Exe|ShellE.xe|ShellEx.e)/s nocase
        $part5 = /(cmd\.exe|c.md\.exe|cm.d\.exe|cmd.\.exe|cmd\..exe|cmd\.e.xe|cmd\.ex.e)/s nocase
        $part6 = /(cmd \/c|c.md \/c|cm.d \/c|cmd. \/c|cmd .\/c|cmd \/.c)/s nocase
        $part7 = /(mshta|m.shta|ms.hta|msh.ta|msht.a)/s nocase
        $part8 = /(rundll32|r.undll32|ru.ndll32|run.dll32|rund.ll32|rundl.l32|rundll.32|rundll3.2)/s nocase
        $part9 = /(regsvr32|r.egsvr32|re.gsvr32|reg.svr32|regs.vr32|regsv.r32|regsvr.32|regsvr3.2)/s nocase
        $part10 = /(winmgmts|w.inmgmts|wi.nmgmts|win.mgmts|winm.gmts|winmg.mts|winmgm.ts|winmgmt.s)/s nocase
        $part11 = /(Win32_Pr|W.in32_Pr|Wi.n32_Pr|Win.32_Pr|Win3.2_Pr|Win32._Pr|Win32_.Pr|Win32_P.r)/s nocase
        $part12 = /(CreatePr|C.reatePr|Cr.eatePr|Cre.atePr|Crea.tePr|Creat.ePr|Create.Pr|CreateP.r)/s nocase
        $part13 = /(VirtualA|V.irtualA|Vi.rtualA|Vir.tualA|Virt.ualA|Virtu.alA|Virtua.lA|Virtual.A)/s nocase
        $part14 = /(CreateTh|C.reateTh|Cr.eateTh|Cre.ateTh|Crea.teTh|Creat.eTh|Create.Th|CreateT.h)/s nocase
        $part15 = /(hedule\.S|h.edule\.S|he.dule\.S|hed.ule\.S|hedu.le\.S|hedul.e\.S|hedule.\.S|hedule\..S)/s nocase
    condition:
        vba_project and vba_starts_by_itself and any of them
}

rule macro_fetches
{
    meta:
        name = "Mailward.Office.AutoMacroFetches"
        description = "A document with a macro that starts by itself and fetches files from the network."
        severity = "critical"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardofficeautomacrofetches"
    strings:
        $part1 = /(URLDownl|U.RLDownl|UR.LDownl|URL.Downl|URLD.ownl|URLDo.wnl|URLDow.nl|URLDown.l)/s nocase
        $part2 = /(XMLHTTP|X.MLHTTP|XM.LHTTP|XML.HTTP|XMLH.TTP|XMLHT.TP|XMLHTT.P)/s nocase
        // "MSXML2.XMLHTTP": the second "XML" is a reference to the first
        $part3 = /(MSXML2|M.SXML2|MS.XML2|MSX.ML2|MSXM.L2|MSXML.2).{2,6}(HTTP|H.TTP|HT.TP|HTT.P)/s nocase
        $part4 = /(WinHttp|W.inHttp|Wi.nHttp|Win.Http|WinH.ttp|WinHt.tp|WinHtt.p)/s nocase
        $part5 = /(ADODB\.St|A.DODB\.St|AD.ODB\.St|ADO.DB\.St|ADOD.B\.St|ADODB.\.St|ADODB\..St|ADODB\.S.t)/s nocase
        $part6 = /(plorer\.A|p.lorer\.A|pl.orer\.A|plo.rer\.A|plor.er\.A|plore.r\.A|plorer.\.A|plorer\..A)/s nocase
        $part7 = /(bitsadmi|b.itsadmi|bi.tsadmi|bit.sadmi|bits.admi|bitsa.dmi|bitsad.mi|bitsadm.i)/s nocase
        $part8 = /(certutil|c.ertutil|ce.rtutil|cer.tutil|cert.util|certu.til|certut.il|certuti.l)/s nocase
        $part9 = /(nloadFil|n.loadFil|nl.oadFil|nlo.adFil|nloa.dFil|nload.Fil|nloadF.il|nloadFi.l)/s nocase
        $part10 = /(nloadStr|n.loadStr|nl.oadStr|nlo.adStr|nloa.dStr|nload.Str|nloadS.tr|nloadSt.r)/s nocase
    condition:
        vba_project and vba_starts_by_itself and any of them
}

rule xlm_auto_open
{
    meta:
        name = "Mailward.Office.XlmAutoOpen"
        description = "A workbook with an Excel 4.0 macro that starts by itself."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardofficexlmautoopen"
    strings:
        // Lbl record with the built-in name 1, Auto_Open, for a cell or an area ([MS-XLS] 2.4.150)
        $cell = { 18 00 17 00 (20 | 21) 00 00 01 07 00 00 00 ?? ?? 00 00 00 00 00 01 (3A | 5A | 7A) }
        $area = { 18 00 1B 00 (20 | 21) 00 00 01 0B 00 00 00 ?? ?? 00 00 00 00 00 01 (3B | 5B | 7B) }
        $name = "_xlnm.Auto_Open" ascii wide nocase
    condition:
        (compound_file and ($cell or $area)) or
        (
            $name and mailward_role == "member" and
            mailward_name matches /(^|[\/\\])workbook[^\/\\]{0,20}\.(xml|bin)$/i
        )
}

rule remote_template
{
    meta:
        name = "Mailward.Office.RemoteTemplate"
        description = "A document that loads its template, with any macros, from the network when it is opened."
        severity = "high"
        verdict = "suspicious"
        reference = "docs/starter-definitions.md#mailwardofficeremotetemplate"
    strings:
        $type = "/relationships/attachedTemplate"
        $target = /<([a-z]{1,10}:)?Relationship\s[^>]{0,300}Target\s{0,4}=\s{0,4}["']\s{0,4}(https?|ftp):[^>]{0,500}>/ nocase
    condition:
        mailward_role == "member" and mailward_name matches /\.rels$/i and
        $type and
        for any i in (1..math.min(#target, 64)) : ($type in (@target[i]..@target[i] + !target[i]))
}

rule remote_object
{
    meta:
        name = "Mailward.Office.RemoteObject"
        description = "A document that loads an object or page from the network through a flaw of its program."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardofficeremoteobject"
    strings:
        // As CVE-2021-40444 and CVE-2022-30190 did: an OLE object whose address ends "!" or goes through MHTML
        $type = /relationships\/(oleObject|frame|subDocument)["']/
        $target = /<([a-z]{1,10}:)?Relationship\s[^>]{0,300}Target\s{0,4}=\s{0,4}["']\s{0,4}((mhtml|its|ms-its|ms-msdt|search-ms):|https?:[^"']{1,400}!["'])[^>]{0,500}>/ nocase
    condition:
        mailward_role == "member" and mailward_name matches /\.rels$/i and
        $type and
        for any i in (1..math.min(#target, 64)) : ($type in (@target[i]..@target[i] + !target[i]))
}

rule dde_command
{
    meta:
        name = "Mailward.Office.DdeCommand"
        description = "A document or table whose field or cell starts a command interpreter through DDE."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardofficeddecommand"
    strings:
        $word = /(<w:instrText[^>]{0,100}>|w:instr\s{0,4}=\s{0,4}["'])\s{0,20}DDE(AUTO)?\s[^<]{0,300}(cmd|powershell|mshta|wscript|cscript|rundll32|regsvr32|certutil)/ nocase
        $link = /ddeService\s{0,4}=\s{0,4}["'](cmd|powershell|mshta|wscript|cscript|rundll32|regsvr32|certutil|msexcel)(\.exe)?["']/ nocase
        $old = /\x13\s{0,20}DDE(AUTO)?\s[^\x14\x15]{0,200}(cmd|powershell|mshta|wscript|cscript|rundll32|regsvr32|certutil)/ nocase
        $rtf = /\\fldinst[^}]{0,200}DDE(AUTO)?\s[^}]{0,300}(cmd|powershell|mshta|wscript|cscript|rundll32|regsvr32|certutil)/ nocase
        $cell = /[=+@\-][^\r\n,;"']{0,60}\b(cmd|powershell|mshta|wscript|cscript|rundll32|regsvr32|certutil)(\.exe)?\s{0,4}\|\s{0,4}'/ nocase
    condition:
        (
            (mailward_role == "member" and mailward_name matches /\.xml$/i and ($word or $link)) or
            (compound_file and $old) or
            (uint32be(0) == 0x7B5C7274 and mailward_role != "message" and mailward_role != "body" and $rtf) or
            (
                mailward_role != "message" and mailward_role != "body" and $cell and
                mailward_name matches /\.(csv|tsv|slk|iqy|xls)$/i and uint32be(0) != 0xD0CF11E0
            )
        )
}

rule equation_exploit
{
    meta:
        name = "Mailward.Office.EquationExploit"
        description = "An object for the old equation editor that holds no equation."
        severity = "critical"
        verdict = "malware"
        reference = "docs/starter-definitions.md#mailwardofficeequationexploit"
    strings:
        $stream = "Equation Native" wide
    condition:
        // Class of the root entry, [MS-CFB] 2.6.1; real equations have a stream of that very name
        compound_file and uint16(0x1E) <= 12 and
        uint32(((uint32(0x30) + 1) << uint16(0x1E)) + 0x50) == 0x0002CE02 and
        uint32be(((uint32(0x30) + 1) << uint16(0x1E)) + 0x58) == 0xC0000000 and
        not $stream
}
