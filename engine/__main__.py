"""`python -m engine`, and the command `cvd` where the engine was installed with pip."""

import sys

from engine.output import survive_any_encoding


def main() -> int:
    """Run the command line. Returns the exit code."""
    survive_any_encoding()
    if sys.argv[1:2] == ["doctor"] and set(sys.argv[2:]) <= {"--json"}:
        from engine.doctor import report  # nothing else is imported: packages may be missing, and it is to say which

        return report("--json" in sys.argv)

    from engine import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
