"""`python -m engine`."""

import sys

if sys.argv[1:2] == ["doctor"] and set(sys.argv[2:]) <= {"--json"}:
    from engine.doctor import report  # nothing else is imported: packages may be missing, and it is to say which

    sys.exit(report("--json" in sys.argv))

from engine.cli import main

sys.exit(main())
