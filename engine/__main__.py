"""`python -m engine`."""

import sys

from engine.output import survive_any_encoding

survive_any_encoding()
if sys.argv[1:2] == ["doctor"] and set(sys.argv[2:]) <= {"--json"}:
    from engine.doctor import report  # nothing else is imported: packages may be missing, and it is to say which

    sys.exit(report("--json" in sys.argv))

from engine.cli import main  # noqa: E402 - see above

sys.exit(main())
