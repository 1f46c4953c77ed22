"""Errors of evaluations."""

from __future__ import annotations

from agentmem.errors import AgentMemError


class DataError(AgentMemError):
    """Benchmark data that is missing or cannot be read; names the file, the line, the field, and where to get it."""


class MissingDataError(DataError):
    """The data of a benchmark is not there at all."""


class UnsupportedError(AgentMemError):
    """A system cannot do what a metric asks of it; the metric is then unscored, with this as the reason."""


class SystemFailedError(AgentMemError):
    """A system under evaluation failed on a case; the case is unscored, with this as the reason."""
