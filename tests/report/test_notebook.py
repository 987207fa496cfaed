"""A report in a notebook: the page of `write_report` in a frame, in which its script works."""

import html
import re

import pytest

import dissect
from dissect.report.notebook import ALLOWED


def page_in(frame):
    return html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1])


def test_it_is_the_page_of_the_file(dissection, tmp_path):
    shown = dissect.show(dissection, height=500)
    frame = shown._repr_html_()
    file = dissect.write_report(dissection, tmp_path).read_text(encoding="utf-8")
    assert page_in(frame).replace('<base href="about:srcdoc">', "") == file
    assert f'sandbox="{ALLOWED}"' in frame
    assert "height: 500px" in frame
    assert repr(shown).startswith("<report of a dissection, which a notebook shows")


def test_comparisons_are_shown_too(dissection):
    shown = dissect.show(dissect.compare({"one": dissection, "other": dissection}))
    assert 'title="report of a comparison"' in shown._repr_html_()


@pytest.mark.parametrize("height", [99, 10_001, 400.0, "tall"])
def test_heights_that_are_none(dissection, height):
    with pytest.raises((TypeError, ValueError), match=r"^show: height must"):
        dissect.show(dissection, height=height)


def test_what_is_no_result_is_refused():
    with pytest.raises(TypeError, match=r"^show: dissection must be a Dissection or a Comparison"):
        dissect.show("out/result")


def test_its_script_works_in_a_frame(browser, dissection, tmp_path):
    """Without the sandbox, so that the test can look into the frame; the page's own policy holds."""
    frame = dissect.show(dissection)._repr_html_().replace(f' sandbox="{ALLOWED}"', "")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><title>notebook</title>{frame}", encoding="utf-8")
    browser.emulate(1280, 900, prefers_color_scheme="light")
    browser.open(notebook)
    browser.wait("frames[0].document.querySelectorAll('.open').length === 19")
    browser.js("frames[0].document.querySelector('.first a').click()")
    browser.wait("frames[0].location.href.startsWith('about:srcdoc#u')")
    enter = "field.dispatchEvent(new Event('input', { bubbles: true }))"
    browser.js(f"{{ const field = frames[0].document.querySelector('[name=text]'); field.value = 'unit 6'; {enter} }}")
    browser.wait("frames[0].location.href === 'about:srcdoc#text=unit+6'")
    browser.js(f"{{ const field = frames[0].document.querySelector('[name=text]'); field.value = ''; {enter} }}")
    browser.wait("frames[0].location.href === 'about:srcdoc'")
