"""The exceptions that have no fitting class in Python itself."""


class BackendMismatch(AssertionError):  # noqa: N818 - the name is part of the API
    """The `check` backend found two backends disagreeing about one kernel call."""


class FileFormatError(ValueError):
    """A data, image or model file is truncated, corrupt, or not what its name says."""


class DatasetNotFoundError(FileNotFoundError):
    """A data set is on none of the paths where it was looked for; the message lists them."""

    def __str__(self) -> str:
        return str(self.args[0])
