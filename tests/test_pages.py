"""The README and the pages of docs/: that their links lead somewhere and that their code runs."""

import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

import dissect

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)#\s]*)(?:#([^)]+))?\)")
CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def name(path):
    return path.relative_to(ROOT).as_posix()


def anchors(text):
    """The names that GitHub gives to the headings of a page."""
    return {
        re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    for target, heading in LINK.findall(page.read_text()):
        file = (page.parent / target).resolve() if target else page
        assert file.is_relative_to(ROOT), target
        assert file.is_file(), target
        if heading and not file.is_relative_to(ROOT / "docs/reference"):  # its headings are written by the site's build
            assert heading in anchors(file.read_text()), f"{target}#{heading}"


def minutes(page):
    """What a page says of how long it took one thread, in minutes; None where it says nothing."""
    told = re.findall(
        r"(?:for|took) ([\d.]+) (minutes|seconds|s)\b(?:,| of (?:processor time|one processor core)|\.)", page
    )
    return None if not told else sum(float(value) / (1 if unit == "minutes" else 60) for value, unit in told)


def test_the_page_of_pages_says_what_the_pages_say_of_their_minutes():
    text = (ROOT / "docs/results.md").read_text()
    rows = re.findall(r"\]\(([\w/]+\.md)\) \| [^|]* \| ([\d.]+|-) \|$", text, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| .*\.md\)", text, re.MULTILINE)) > 15
    known = {page: minutes((ROOT / "docs" / page).read_text()) for page, _ in rows}
    assert {page: said for page, said in rows} == {
        page: "-" if value is None else f"{value:.1f}" for page, value in known.items()
    }
    (told,) = re.findall(r"Together (\d+) minutes", text)
    assert int(told) == round(sum(float(said) for _, said in rows if said != "-"))


class Classes(Dataset):
    """Images and their class, which is whether they are more red than green."""

    classes = ("ski resort", "beach")

    def __init__(self, seed):
        self.images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index]
        return image, int(image[0].sum() > image[1].sum())


def stand_ins():
    """What code on pages takes for granted: a network with a layer "features.28" of 20 units, images and data sets."""
    layers = [
        nn.Conv2d(3, 20, 3, padding=1),
        nn.ReLU(),
        *(nn.Identity() for _ in range(24)),
        nn.Conv2d(20, 20, 3),
        nn.ReLU(),
    ]
    features = nn.Sequential(*layers, nn.Conv2d(20, 20, 3, padding=1), nn.ReLU())
    parts = [
        ("features", features),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("classifier", nn.Sequential(nn.Linear(20, 2))),
    ]
    model = nn.Sequential(OrderedDict(parts)).eval()
    images = torch.rand(2, 60, 3, 16, 16)
    planes = (images[:, :, :1] > 0.5).long() + (images[:, :, 1:2] > 0.5)
    return {"model": model, "images": list(zip(images, planes)), "train": Classes(1), "val": Classes(2)}


@pytest.mark.parametrize("page", ["README.md", "docs/guide/network.md", "docs/guide/images.md"])
def test_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"dissect": dissect, **stand_ins()}
    if page.endswith("images.md"):
        names["images"] = [batch for batch, _ in names["images"]]
    blocks = CODE.findall((ROOT / page).read_text())
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    assert (tmp_path / "out/report.html").exists() or page == "docs/guide/network.md"


def test_code_for_classifiers_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"dissect": dissect, **stand_ins()}
    names["d"] = dissect.dissect(names["model"], "features.28", names["images"], concepts=["a", "b"], progress=False)
    names["images"] = names["images"][0][0]
    for block in CODE.findall((ROOT / "docs/guide/classifiers.md").read_text()):
        exec(compile(block, "classifiers.md", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_names_what_there_is(page):
    for block in CODE.findall(page.read_text()):
        compile(block, page.name, "exec")
        for path in re.findall(r"\bdissect((?:\.\w+)+)", block):
            found = dissect
            for part in path.split(".")[1:]:
                found = getattr(found, part)


def test_the_citation_is_of_this_version():
    cited = dict(re.findall(r"^([\w-]+): (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE))
    project = (ROOT / "pyproject.toml").read_text().partition("[project]")[2].partition("\n[")[0]
    known = dict(re.findall(r'^(name|version|license) = "(.+)"$', project, re.MULTILINE))
    assert (cited["version"], cited["license"]) == (known["version"], known["license"])
    assert cited["title"].strip('"').startswith(known["name"])
