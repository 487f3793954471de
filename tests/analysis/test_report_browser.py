"""In headless Chromium, the report uses no network, its filters work, and it fits a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.report.page import write_report
from analysis.sources.collection import Collection

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="`chromium` is not installed; Debian has a package of this name"
)


@pytest.fixture
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


def visible(page: Any, selector: str) -> list[str]:
    return [text.split("\n")[0] for text in page.locator(selector).filter(visible=True).all_inner_texts()]


def test_the_page_works_in_a_browser(make_ledger, tmp_path: Path, browser: Any) -> None:
    runs = make_ledger()
    xvolution = [cell for cell in runs.cells if cell["operator"].startswith("xvolution")]
    runs.sweep |= {"sweep": "other", "title": "Another", "baseline": None, "cells": xvolution}
    runs.write_sweep()
    path = write_report(Collection([runs.out]), tmp_path / "report" / "report.html", "python -m analysis report")
    requests: list[str] = []
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
    page.set_default_timeout(60_000)
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())

    def check(name: str, checked: bool = True) -> None:
        page.get_by_role("checkbox", name=name, exact=True).set_checked(checked)

    accuracies = "#sweep-1 tbody:first-of-type th"
    assert visible(page, "section.sweep h2") == ["Kernel size of the convolution", "Another"]
    check("other")
    assert visible(page, "section.sweep h2") == ["Another"]
    assert visible(page, "nav ul ul a") == ["other"]
    check("other", checked=False)
    check("Convolution")
    assert visible(page, accuracies) == ["Convolution"]
    assert visible(page, "section.sweep h2") == ["Kernel size of the convolution"]
    check("X-volution (static)")
    assert visible(page, accuracies) == ["Convolution", "X-volution (static)"]
    assert page.get_by_role("status").inner_text() == "Shown: 2 of 2 sweeps, 10 of 15 configurations."
    page.get_by_role("button", name="Show everything").click()
    page.locator("body:not(.filtered)").wait_for()
    assert visible(page, accuracies) == ["Convolution", "X-volution", "X-volution (static)"]

    # A link to hidden runs resets the filter.
    group = f"#runs-{runs.cell('xvolution', 7, 0)['group_id']}"
    assert not page.locator(f"{group} table").is_visible()
    check("Convolution")
    page.evaluate("where => { location.hash = where }", group)
    page.locator(f"{group} table").wait_for(state="visible")
    assert "99.9" in page.locator(f"{group} table").inner_text()

    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.screenshot(path=tmp_path / "desktop.png", full_page=True)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("details.evidence:not([open])").count() == 0  # nobody can click on paper

    assert requests == [path.as_uri()]
    assert complaints == []
