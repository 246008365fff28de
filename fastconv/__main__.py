"""``python -m fastconv``: the command `fastconv`."""

import sys

from fastconv.cli import main

sys.exit(main())
