"""Every error the engine raises on purpose, in one family.

An error has three parts for the person who meets it: what happened, why, and what to do.
Anything else that escapes is a defect of the engine and is reported as such.
"""


class CvdError(Exception):
    """A failure with advice.

    Args:
        code: stable identifier, `area.reason`, such as `footage.missing`.
        what: what happened, one sentence.
        why: the cause, as far as it is known.
        fix: what to do about it.
    """

    exit_code = 1

    def __init__(self, code: str, what: str, why: str, fix: str) -> None:
        super().__init__(f"{what} {why} {fix}")
        self.code = code
        self.what = what
        self.why = why
        self.fix = fix

    def as_dict(self) -> dict[str, str]:
        """The error as `status.json` and `solve_failed` events carry it."""
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix}


class RequestError(CvdError):
    """The request itself is wrong: nothing was started."""

    exit_code = 2


class FootageError(CvdError):
    """The footage cannot be read or cannot be solved from."""


class MaskError(CvdError):
    """The masks given cannot be used, or hide nearly everything."""


class CameraError(CvdError):
    """A camera, a lens or followed points that were given cannot be used, or do not fit the plate."""


class PoseError(CvdError):
    """The cameras could not be solved."""


class HintError(CvdError):
    """A depth hint of the artist cannot be used."""


class DepthError(CvdError):
    """Depth could not be solved."""


class PriorError(CvdError):
    """The prior asked for is not there, not usable or not allowed."""


class WorkspaceError(CvdError):
    """The solve folder cannot be used: permission, disk space, another engine at work."""


class DeliverError(CvdError):
    """A solve cannot be handed to other programs as was asked."""


class EvaluationError(CvdError):
    """A solve cannot be compared with the truth given."""


class Cancelled(Exception):  # noqa: N818 - it is not an error
    """Cancelled by the user. Not a failure: everything finished so far is kept."""

    exit_code = 130


class Stopped(Cancelled):
    """Stopped after the stage that was asked for: a success, but no result yet (for farms)."""

    exit_code = 0

    def __init__(self, stage: str) -> None:
        super().__init__(f"Stopped after the stage {stage}, as asked. Solve again to resume.")
