"""What prepared files are called, and what all who read and write them have to know.

``lines`` has the line of every signature that looks into files, after a letter that says how it is
read; ``index`` what there is, ``surroundings`` the lines on links,
containers and file types. The others are described in ``pieces`` and ``engines.hash_table``.
"""

LINES_FILE = "lines"
INDEX_FILE = "index"
SURROUNDINGS_FILE = "surroundings"

LETTERS = {".ndb": "N", ".ndu": "n", ".ldb": "L", ".ldu": "l", ".db": "D"}
"""Before a line, by the suffix of the file that it was in."""
SUFFIXES = {letter: suffix for suffix, letter in LETTERS.items()}

UNWANTED_MARK = "?"
"""Before the name of a digest that finds what is merely suspicious."""
