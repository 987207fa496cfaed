"""``python -m dissect``."""

import sys

from dissect.cli.commands import main

sys.exit(main())
