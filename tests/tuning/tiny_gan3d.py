"""The command, and the blocks that it starts, with the tiny networks of the tests."""

import sys
from pathlib import Path

from gan3d.cli import main, tune_block
from gan3d.models import architectures

architectures.__path__.append(str(Path(__file__).parents[1] / "architectures"))
tune_block.WORKER = (sys.executable, __file__, "--block")

if __name__ == "__main__":
    if sys.argv[1] == "--block":
        del sys.argv[1]
        sys.exit(tune_block.main())
    sys.exit(main())
