"""`python -m ulna`: the commands of `ulna`."""

import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # The working directory, where a file of the user's could be called as a package is.
        del sys.path[0]
    from ulna.cli import main

    main()
