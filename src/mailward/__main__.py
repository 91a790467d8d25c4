"""``python -m mailward``: the command line without its script."""

from mailward.cli import main

if __name__ == "__main__":
    main()
