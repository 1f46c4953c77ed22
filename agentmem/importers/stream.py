"""A file, or conversations.json of an archive, as a stream of JSON values that knows its lines."""

from __future__ import annotations

import codecs
import json
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from agentmem.errors import SessionError

MAX_VALUE_CHARS = 256 * 2**20
"""Largest single JSON value (a conversation) read into memory."""

MAX_ARCHIVE_BYTES = 4 * 2**30
"""Largest file of conversations read out of a zip."""

MAX_RATIO = 300
"""A member that unpacks to more than this many times its size is no text: text shrinks 3 to 30 times."""

CHUNK = 1 << 20
"""Bytes read at a time."""

FORMS = "OpenAI-style JSON or JSONL, a LangChain dump, or a ChatGPT or Claude export"

_ARCHIVED = re.compile(r"(^|/)(conversations(-\d+)?\.json|sessions/[^/]+\.jsonl)$")  # the latter in our own exports


class Found(NamedTuple):
    """A JSON value and the line of the file it begins on."""

    line: int
    value: Any


def streams(source: str | Path) -> Iterator[JsonStream]:
    """Each text in a file: the file itself, or every conversations.json of a zip. Raises SessionError."""
    if str(source) == "-":
        yield _opened("standard input", sys.stdin.buffer)
        return
    path = Path(source)
    try:
        with path.open("rb") as file:
            zipped = file.seekable() and zipfile.is_zipfile(file)  # a named pipe is not seekable
            if file.seekable():
                file.seek(0)
            if not zipped:
                yield _opened(str(path), file)
                return
            with zipfile.ZipFile(file) as archive:
                for member in _members(path, archive):
                    with archive.open(member) as inside:
                        yield _opened(f"{path}/{member.filename}", inside)
    except OSError as error:
        raise SessionError(f"{path}: {_why_not(path, error)}") from error
    except zipfile.BadZipFile as error:
        raise SessionError(f"{path}: is a damaged zip archive ({error}); download it again") from error


def _opened(name: str, file: IO[bytes]) -> JsonStream:
    """The text of a file. Raises SessionError, before any decoding, for what is plainly no UTF-8 text."""
    head = file.read(CHUNK)
    if not head.strip():
        raise SessionError(f"{name}: is empty; expected {FORMS}")
    if head.startswith(b"PK\x03\x04"):
        raise SessionError(f"{name}: is a zip archive that cannot be opened; give the path of a whole one")
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise SessionError(f"{name}: is UTF-16 text; save it as UTF-8")
    if b"\x00" in head:
        raise SessionError(f"{name}: is a binary file; expected {FORMS}")
    return JsonStream(name, file, head)


def _members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = sorted((one for one in archive.infolist() if _ARCHIVED.search(one.filename)), key=lambda m: m.filename)
    if not members:
        raise SessionError(f"{path}: has no conversations.json; give the archive as you downloaded it, or a JSON file")
    for member in members:
        ratio = member.file_size / max(member.compress_size, 1)
        if member.file_size > MAX_ARCHIVE_BYTES or (member.file_size > 16 * CHUNK and ratio > MAX_RATIO):
            raise SessionError(f"{path}: {member.filename} would unpack to {member.file_size / 2**20:,.0f} MiB from "
                               f"{member.compress_size / 2**20:,.1f}; unpack it yourself if you trust it")  # fmt: skip
        if member.flag_bits & 1:
            raise SessionError(f"{path}: {member.filename} is encrypted; unpack it first")
    return members


def _why_not(path: Path, error: OSError) -> str:
    if path.is_dir():
        inside = sorted(path.rglob("conversations*.json"))
        return f"is a folder; give a file{f', such as {inside[0]}' if inside else ''}"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    return f"cannot be read ({error.strerror or error})"


class JsonStream:
    """A file as a stream of JSON values: what was read and not yet used, and which line that begins on."""

    def __init__(self, name: str, file: IO[bytes], head: bytes) -> None:
        self.name = name
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._buffer = ""
        self._place = 0
        self._line = 1
        self._counted = 0  # place up to which the line breaks are counted
        self._ended = False
        self._decode(head)

    def peek(self) -> str:
        """The next character that is not blank, "" at the end."""
        while True:
            blank = re.compile(r"\s*").match(self._buffer, self._place)
            self._place = blank.end() if blank else self._place
            if self._place < len(self._buffer):
                return self._buffer[self._place]
            if not self._more():
                return ""

    def skip(self, character: str) -> bool:
        """Step over `character` when it comes next."""
        if self.peek() != character:
            return False
        self._place += 1
        return True

    def value(self) -> Found:
        """The next JSON value. Raises SessionError with the line that is broken."""
        self.peek()
        while True:
            try:
                value, end = _JSON.raw_decode(self._buffer, self._place)
            except json.JSONDecodeError as error:
                # cut off by the end of what was read so far, or really broken?
                near_end = error.pos > len(self._buffer) - 64 or error.msg.startswith("Unterminated string")
                if not (near_end and self._more()):
                    raise self._broken(error) from error
            except RecursionError as error:
                raise SessionError(f"{self.name}:{self.line()}: is nested too deeply to be a conversation") from error
            except ValueError as error:  # a number of thousands of digits
                raise SessionError(f"{self.name}:{self.line()}: is not usable JSON: {error}") from error
            else:
                found = Found(self.line(), value)
                self._place = end
                return found

    def line(self, place: int | None = None) -> int:
        """Line of `place` in what is read, by default of the next value; counted from 1."""
        if place is not None:
            return self.line() + self._buffer.count("\n", self._place, place)
        self._line += self._buffer.count("\n", self._counted, self._place)
        self._counted = self._place
        return self._line

    def _more(self) -> bool:
        """Read on, as much again as is waiting, so that a large value is not decoded over and over."""
        if self._ended:
            return False
        self.line()
        self._buffer = self._buffer[self._place :]
        self._place = self._counted = 0
        if len(self._buffer) > MAX_VALUE_CHARS:
            raise SessionError(f"{self.name}:{self._line}: begins a value of more than {MAX_VALUE_CHARS >> 20} MiB; "
                               "split the file, or write one conversation a line")  # fmt: skip
        self._decode(self._file.read(max(CHUNK, len(self._buffer))))
        return True

    def _decode(self, read: bytes) -> None:
        self._ended = not read
        try:
            self._buffer += self._decoder.decode(read, final=self._ended)
        except UnicodeDecodeError as error:
            line = self.line(len(self._buffer)) + error.object[: error.start].count(b"\n")
            raise SessionError(f"{self.name}:{line}: is not UTF-8 text; save it as UTF-8") from error

    def _broken(self, error: json.JSONDecodeError) -> SessionError:
        rest = self._buffer[self._place :]
        if self.line() == 1 and rest.strip() and rest[:1] not in ("{", "[", '"'):
            return SessionError(f"{self.name}:1: is not JSON; expected {FORMS}")
        place = self._place if _UNFINISHED_LINE.match(rest) else error.pos
        where = f"{self.name}:{self.line(place)}"
        if not self._buffer[place:].strip():
            return SessionError(f"{where}: ends in the middle of a value; is the file complete?")
        said = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        return SessionError(f"{where}: is broken JSON ({said}); correct or remove this line")


_JSON = json.JSONDecoder()

_UNFINISHED_LINE = re.compile(r'\{"[^\n]*[^\n\s\[{,][^\S\n]*\n[{\[]')
"""A line of JSONL that is cut off: the next one begins a value where this one is not at a place for it. The decoder
would blame the next."""
