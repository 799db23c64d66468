"""The two ways a job ends badly, besides a bug."""


class UsageError(ValueError):
    """The input, the configuration or the command line is wrong; the user can mend it (exit status 2)."""


class JobError(RuntimeError):
    """The job could not do its work (exit status 1)."""
