"""The command, which knows the architectures of the tests besides its own."""

import sys
from pathlib import Path

from gan3d.cli import main
from gan3d.models import architectures

architectures.__path__.append(str(Path(__file__).parent / "architectures"))

if __name__ == "__main__":
    sys.exit(main())
