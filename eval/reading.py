"""Reading benchmark data: JSON, JSONL, CSV. What is missing or wrong is said with file, line and field."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from eval.errors import DataError, MissingDataError

T = TypeVar("T")


class Row:
    """One record of a file, whose fields are read by name and type.

    A path of names reads into nested records: row.get("choice", "conversation", "query", type=str).
    """

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise DataError(f"{where}: a {type(value).__name__}, not an object")
        self.value, self.where = value, where

    def get(self, *path: str, type: type[T]) -> T:
        """The field at `path`. Raises DataError naming it when it is missing or of another type."""
        value: Any = self.value
        for depth, name in enumerate(path):
            if not isinstance(value, Mapping) or name not in value:
                raise DataError(f"{self.where}: field {'.'.join(path[: depth + 1])} is missing")
            value = value[name]
        if type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, type):
            raise DataError(
                f"{self.where}: field {'.'.join(path)} is {_short(value)}, not {_WORDS.get(type, type.__name__)}"
            )
        return value

    def row(self, *path: str) -> Row:
        """The record at `path`."""
        return Row(self.get(*path, type=dict), f"{self.where}: {'.'.join(path)}")

    def rows(self, *path: str) -> list[Row]:
        """The list of records at `path`."""
        return [
            Row(value, f"{self.where}: {'.'.join(path)}[{place}]")
            for place, value in enumerate(self.get(*path, type=list))
        ]

    def texts(self, *path: str) -> list[str]:
        """The list of strings at `path`."""
        values = self.get(*path, type=list)
        for place, value in enumerate(values):
            if not isinstance(value, str):
                raise DataError(f"{self.where}: field {'.'.join(path)}[{place}] is {_short(value)}, not text")
        return values

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(name) is not None


_WORDS: dict[type, str] = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "an object"}


def read_json(path: Path, source: str) -> Any:
    """The JSON of a file. `source` says where to get it when it is missing."""
    text = read_text(path, source)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); is the file complete?") from error


def read_jsonl(path: Path, source: str) -> Iterator[Row]:
    """The records of a JSONL file; blank lines are left out."""
    # not splitlines: a text may hold U+2028, which JSON leaves as it is
    for number, line in enumerate(read_text(path, source).split("\n"), start=1):
        if line.strip():
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON ({error.msg}); is the file complete?") from error
            yield Row(value, f"{path}:{number}")


def read_csv(path: Path, source: str) -> Iterator[Row]:
    """The records of a CSV file with a head line; every value is text."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # whole conversations stand in one field
    reader = csv.DictReader(io.StringIO(read_text(path, source), newline=""))
    for row in reader:
        if None in row or any(value is None for value in row.values()):
            raise DataError(f"{path}:{reader.line_num}: another number of columns than the head line")
        yield Row(row, f"{path}:{reader.line_num}")


def read_text(path: Path, source: str) -> str:
    """The text of a file. Raises DataError with where to get it when it is missing, or says that it is not UTF-8."""
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise MissingDataError(f"{path}: no such file. {source}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def find_layout(data: Path, layouts: Mapping[str, str], source: str, folder: str = "") -> tuple[str, Path]:
    """Which layout lies in `data` (or in its folder `folder`), and the folder that holds it.

    Args:
        data: as given with --data.
        layouts: by the layout's name a glob pattern of files that only it has.
        source: where to get the data.
        folder: name of the benchmark's folder in our layout.

    Raises:
        DataError: none does; says what was looked for.
    """
    for home in (data / folder, data) if folder else (data,):
        for layout, pattern in layouts.items():
            if next(home.glob(pattern), None) is not None:
                return layout, home
    looked = " nor ".join(layouts.values())
    where = f"{data / folder} and {data}" if folder else f"{data}"
    raise MissingDataError(f"{where}: neither {looked} is there. {source}")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}…"
