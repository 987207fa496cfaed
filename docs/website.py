"""What mkdocs.yml asks of this folder: the README as the start page, and docstrings as Markdown.

The README is shown where a page says ``<!-- README -->``, with its links as they are from there.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parent.parent
ASKED = "<!-- README -->"
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")
FETCHED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>\"]+")
IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)")


def moved(text: str, page: str) -> str:
    """Links of the README as they are from a page of docs/."""

    def target(path: str) -> str:
        return posixpath.relpath(path, posixpath.dirname(f"docs/{page}"))

    text = IMAGE.sub(lambda link: f"![{link[1]}]({target(link[2])})", text)
    return LINK.sub(lambda link: f"[{shown(link)}]({target(link[2])}{link[3] or ''})", text)


def shown(link: re.Match[str]) -> str:
    """The words of a link; where those are a file's address in the repository, its name."""
    return posixpath.basename(link[1]) if link[1] == link[2] else link[1]


def without_sources(text: str, page: str) -> str:
    """Links to files that are not published become those files' names."""

    def outside(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(f"docs/{page}"), link[2]))
        return link[0] if path.startswith("docs/") else f"`{path}`"

    return LINK.sub(outside, text)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page before it is rendered."""
    here = page.file.src_uri
    if ASKED in markdown:
        markdown = markdown.replace(ASKED, moved((ROOT / "README.md").read_text(encoding="utf-8"), here))
    return without_sources(markdown, here)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Called by mkdocs for each page as it will be: it may fetch nothing from elsewhere."""
    found = FETCHED.search(output)
    if found:
        raise PluginError(f"{page.file.src_uri} would fetch from elsewhere: {found[0]}")
    return output


def as_markdown(docstring: str) -> str:
    """A docstring of this library as the parser of Google's style, and Markdown, take it."""
    docstring = re.sub(r"^( *)Example:$", r"\1Examples:", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^( *)(Forward|Items):$", r"\1**\2**\n", docstring, flags=re.MULTILINE)
    docstring = re.sub(r"^ *::\n\n", "", docstring, flags=re.MULTILINE)
    return re.sub(r"(\S)::$", r"\1:", docstring, flags=re.MULTILINE)


def public_not_file(room: griffe.Module) -> None:
    """Lets `ops.iou_counts` be the function that is imported, and not the file of that name which it comes from."""
    for name, member in list(room.members.items()):
        if isinstance(member, griffe.Module) and room.imports.get(name) == f"{member.path}.{name}":
            room.members[name] = griffe.Alias(name, member.members[name], parent=room)


class Docstrings(griffe.Extension):
    """What is changed of the package before its pages are written."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **_: Any) -> None:
        """Called by griffe once the package is read."""
        loader.resolve_aliases()
        objects: list[griffe.Object] = [pkg]
        for one in objects:
            objects += [member for member in one.members.values() if isinstance(member, griffe.Object)]
        for one in objects:
            if one.docstring:
                one.docstring.value = as_markdown(one.docstring.value)
        for one in objects:
            if isinstance(one, griffe.Module):
                public_not_file(one)
                if one.exports is not None:  # so that iou_counts stands beside IouCounts
                    one.exports = sorted(map(str, one.exports), key=lambda name: name.replace("_", "").lower())
