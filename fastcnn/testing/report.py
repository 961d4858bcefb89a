"""What a check found, and the table of all of them."""

from dataclasses import dataclass

from fastcnn.shapes import shape_text

STATUSES = ("failed", "passed", "skipped")  # in the order of the table


class Failure(Exception):  # noqa: N818 - not an error of the program: what a check found
    """A check that failed; its text is the sentence of the report."""


class Skip(Exception):  # noqa: N818 - the same
    """A check that cannot be made; its text says why."""


@dataclass(frozen=True)
class Check:
    """One check: its name, 'passed', 'failed' or 'skipped', and a sentence about it."""

    name: str
    status: str
    message: str


@dataclass(frozen=True)
class LayerReport:
    """What :func:`fastcnn.testing.check_layer` found out about a layer; true where nothing failed.

    Attributes
    ----------
    layer : str, the name of the layer's class
    shape : tuple of int, the batch that was given, (batch, ...)
    dtype : str, what the layer computes in: the dtype of its results for a float64 batch
    checks : list of Check, in the order they were made
    """

    layer: str
    shape: tuple[int, ...]
    dtype: str
    checks: list[Check]

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.status == "failed"]

    @property
    def ok(self) -> bool:
        """Whether no check failed; those that were skipped do not count."""
        return not self.failed

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        """A line for each check, failures first."""
        counts = {status: sum(check.status == status for check in self.checks) for status in STATUSES}
        summary = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{self.layer} on {shape_text(*self.shape)}, {self.dtype}: {summary}"]
        for status in STATUSES:
            shown = status.upper() if status == "failed" else status
            lines += [f"  {shown:7}  {c.name:{width}}  {c.message}" for c in self.checks if c.status == status]
        return "\n".join(lines)
