"""`python -m gan3d`: the command, with this Python, where no `gan3d` is on the path."""

import sys

from gan3d.cli import main

if __name__ == "__main__":
    sys.exit(main())
