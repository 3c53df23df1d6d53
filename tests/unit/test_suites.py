"""Evaluation suites are read from every form that people keep them in, or refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import DataError
from curation.suites import Item, Suite, read_suites


def _write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_jsonl_items_have_their_prompt_and_answer_under_any_name(tmp_path: Path) -> None:
    """Prompt, question, input and messages count as prompts; blank lines as nothing."""
    file = _write(
        tmp_path / "quiz.jsonl",
        '{"prompt": "p one", "answer": "a"}',
        "",
        '{"question": "p two", "reference": ["b", "c"]}',
        '{"input": "p three", "expected": 4}',
        '{"messages": [{"role": "system", "content": "rules"}, {"role": "user", "content": "p"},'
        ' {"role": "user", "content": [{"type": "text", "text": "four"}, {"type": "image_url"}]},'
        ' {"role": "assistant", "content": "d"}]}',
        '{"prompt": "no answer"}',
    )
    assert read_suites([file]) == (
        Suite(
            "quiz",
            (
                Item(1, "p one", "a"),
                Item(2, "p two", "b\nc"),
                Item(3, "p three", "4"),
                Item(4, "p\nfour\n", "d"),
                Item(5, "no answer", ""),
            ),
        ),
    )


def test_a_folder_gives_its_jsonl_and_toml_files_each_once(tmp_path: Path) -> None:
    """Files have the folder's name before theirs; one named twice is read once."""
    folder = tmp_path / "gate"
    inner = _write(folder / "deep" / "one.toml", "[[examples]]", 'prompt = "x"', 'answer = "y"')
    _write(folder / "two.jsonl", '{"prompt": "z"}')
    _write(folder / "README.md", "not a suite")
    suites = read_suites([folder, inner])
    assert [suite.name for suite in suites] == ["gate/deep/one", "gate/two"]
    assert suites[0].items == (Item(1, "x", "y"),)


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": ', 2, "not a line of JSON"),
        ("a.jsonl", b'{"prompt": "x"}\n{"prompt": "\xff"}', 2, "UTF-8"),
        ("a.jsonl", b'\n{"answer": "x"}', 2, "none of the fields"),
        ("a.jsonl", b'{"prompt": " "}', 1, "says nothing"),
        ("a.jsonl", b'{"prompt": null}', 1, "null"),
        ("a.jsonl", b'["prompt"]', 1, "type list"),
        ("a.toml", b"[[examples]]\nprompt = ", 2, "not TOML"),
        ("a.toml", b'[[examples]]\nprompt = "x"\n\n[[examples]]\nanswer = "y"', 4, "none of"),
        ("a.toml", b'examples = [{prompt = "x"}, {answer = "y"}]', 1, "none of"),
        ("a.toml", b'title = "x"', 1, "[[examples]]"),
        ("a.toml", b'[[examples]]\nprompt = "\xff"', 2, "not UTF-8"),
    ],
)
def test_what_is_no_suite_is_refused_with_file_and_line(
    tmp_path: Path, name: str, text: bytes, line: int, words: str
) -> None:
    """A suite that could be read in part would protect in part."""
    file = tmp_path / name
    file.write_bytes(text)
    with pytest.raises(DataError) as raised:
        read_suites([file])
    assert str(raised.value).startswith(f"{file}:{line}:")
    assert words in str(raised.value)


def test_missing_empty_and_unknown_files_are_refused(tmp_path: Path) -> None:
    """A mistyped path must not mean that nothing is protected."""
    empty = _write(tmp_path / "empty.jsonl")
    (tmp_path / "bare").mkdir()
    for path in (tmp_path / "away", tmp_path / "bare", empty, _write(tmp_path / "x.csv", "a")):
        with pytest.raises(DataError, match=path.name):
            read_suites([path])


def test_two_suites_of_one_name_are_refused(tmp_path: Path) -> None:
    """A drop's detail names the suite: the name must tell which."""
    files = [_write(tmp_path / part / "quiz.jsonl", '{"prompt": "x"}') for part in "ab"]
    with pytest.raises(DataError, match="rename"):
        read_suites(files)
