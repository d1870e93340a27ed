"""python -m vit_ms."""

import sys

from vit_ms.cli import main

sys.exit(main())
