"""Fields of word processors: which do nothing but show something."""

_HARMLESS = """
    addressblock advance author autonum autonumlgl autonumout barcode bibliography bidioutline
    citation comments compare createdate date docproperty docvariable edittime eq filename
    filesize fill-in formcheckbox formdropdown formtext greetingline hyperlink if index info
    keywords lastsavedby listnum mergefield mergerec mergeseq next nextif noteref numchars
    numpages numwords page pageref printdate ref revnum savedate section sectionpages seq set
    shape skipif styleref subject symbol ta tc template time title toa toc useraddress
    userinitials username xe
"""
"""ECMA-376 part 1, 17.16.5, without DDE, DDEAUTO, INCLUDE…, LINK, IMPORT, EMBED, QUOTE, DATABASE,
MACROBUTTON and others that fetch, run or build others."""


def is_harmless(instruction: str) -> bool:
    """Whether a field of that instruction runs and fetches nothing. What is unknown may."""
    first = instruction.strip().split(maxsplit=1)
    word = first[0].lower().strip('"') if first else ""
    if word.startswith("="):
        return True
    return word in _HARMLESS.split()
