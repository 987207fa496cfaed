"""C++ files have at most 400 lines, and functions at most 50, as tests/test_rooms.py asks of Python."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("csrc", "tests/native", "tests/emulation")
#: What has braces that count for nothing: comments, texts, and what the preprocessor takes.
OTHER = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'|^[ \t]*#(?:\\\n|[^\n])*', re.S | re.M)
SCOPE = re.compile(r"\b(?:class|struct|union|enum|namespace|extern)\b")
PARAMETERS = re.compile(r"\)(?:\s|const|noexcept|override)*$")


def functions(text):
    """Of each function where it begins, with its template's line, and how many lines it has; not of lambdas."""
    text = OTHER.sub(lambda part: re.sub(r"[^\n]", " ", part[0]), text)
    open_braces, after = [], 0
    for brace in re.finditer(r"[{};]", text):
        if brace[0] == "{":
            head = text[after : brace.start()]
            scope = bool(SCOPE.search(head)) and not PARAMETERS.search(head)
            begin = brace.start() - len(head.lstrip())
            outermost = all(is_scope for is_scope, _ in open_braces) and "=" not in head.split("(")[0]
            open_braces.append((scope, begin if outermost and not scope else None))
        elif brace[0] == "}":
            _, begin = open_braces.pop()
            if begin is not None:
                yield text.count("\n", 0, begin) + 1, text.count("\n", begin, brace.end()) + 1
        after = brace.end()


def test_functions_are_found():
    text = """
// a { comment
template <typename T>
struct A : B<T> {
  int x[2] = {1, 2};
  const char* braces() const {
    return "{{";
  }
};

namespace {
template <typename T>
void f(const A<T>& of, struct C c) {
  const auto inner = [&](int y) {
    if (y) { f(y); }
  };
}
}  // namespace
"""
    assert list(functions(text)) == [(6, 3), (12, 6)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_and_functions_are_short(folder):
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".h", ".cpp", ".cu", ".cuh")]
    lengths = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in files}
    found = {(path, line): count for path, text in lengths.items() for line, count in functions(text)}
    assert len(found) > {"csrc": 300, "tests/native": 5, "tests/emulation": 30}[folder], len(found)
    assert {path: text.count("\n") for path, text in lengths.items() if text.count("\n") > 400} == {}
    assert {place: count for place, count in found.items() if count > 50} == {}
