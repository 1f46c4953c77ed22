"""Benchmark data that is missing or wrong is said with file, line and field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eval.errors import DataError
from eval.reading import Row, find_layout, read_csv, read_json, read_jsonl

SOURCE = "Get it from example.org (CC0)."


def test_fields_are_read_by_path_and_type() -> None:
    row = Row({"a": {"b": [1, 2]}, "n": 3, "t": "x", "l": [{"k": 1}]}, "f:1")
    assert row.get("a", "b", type=list) == [1, 2]
    assert row.get("n", type=float) == 3.0
    assert [one.get("k", type=int) for one in row.rows("l")] == [1]
    assert row.row("a").has("b") and not row.has("z")


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda row: row.get("z", type=str), r"f:1: field z is missing"),
        (lambda row: row.get("a", "z", type=str), r"f:1: field a.z is missing"),
        (lambda row: row.get("n", type=str), r"f:1: field n is 3, not text"),
        (lambda row: row.texts("mixed"), r"f:1: field mixed\[1\] is 2, not text"),
        (lambda row: row.rows("mixed"), r"f:1: mixed\[0\]: a str, not an object"),
    ],
)
def test_a_wrong_field_is_named(read, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(Row({"a": {}, "n": 3, "mixed": ["x", 2]}, "f:1"))


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file. Get it from example.org"):
        read_json(tmp_path / "none.json", SOURCE)


def test_a_broken_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    with pytest.raises(DataError, match=re.escape(f"{path}:3: not JSON")):
        list(read_jsonl(path, SOURCE))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        list(read_jsonl(path, SOURCE))
    path.write_text('{"a": [1,\n 2')
    with pytest.raises(DataError, match=re.escape(f"{path}:2: not JSON")):
        read_json(path, SOURCE)


def test_csv_keeps_line_breaks_in_fields_and_refuses_ragged_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('q,a\n"two\nlines",x\n')
    assert [row.get("q", type=str) for row in read_csv(path, SOURCE)] == ["two\nlines"]
    path.write_text("q,a\nonly one\n")
    with pytest.raises(DataError, match=r"rows.csv:2: another number of columns"):
        list(read_csv(path, SOURCE))


def test_a_layout_is_found_in_the_folder_itself_or_in_its_own_folder(tmp_path: Path) -> None:
    layouts = {"ours": "pairs.jsonl", "upstream": "data/*.json"}
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "pairs.jsonl").touch()
    assert find_layout(tmp_path, layouts, SOURCE, "bench") == ("ours", tmp_path / "bench")
    assert find_layout(tmp_path / "bench", layouts, SOURCE, "bench") == ("ours", tmp_path / "bench")
    with pytest.raises(DataError, match=r"neither pairs.jsonl nor data/\*.json is there. Get it"):
        find_layout(tmp_path / "other", layouts, SOURCE, "bench")


def test_unusual_line_separators_belong_to_the_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "one\u2028two\x85three"}\n{"a": "x"}\n', "utf-8")
    assert [row.get("a", type=str) for row in read_jsonl(path, SOURCE)] == ["one\u2028two\x85three", "x"]
    path.write_text("q,a\none\u2028two,x\n", "utf-8")
    assert [row.get("q", type=str) for row in read_csv(path, SOURCE)] == ["one\u2028two"]
