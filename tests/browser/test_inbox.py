"""The inbox in a real browser: a file tried, stored and gone on with; a report matched by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PERSON, sign_in
from tests.browser.test_journey import set_up
from tests.serving import Server

pytestmark = pytest.mark.any_database

SALES = 410  # more than two slices


@pytest.fixture
def cid(server: Server) -> str:
    """The click id of somebody's click on a link of its own."""
    link = {"destination": "https://shop.example/", "campaign": "pots", "source": "mail", "medium": "email"}
    code = server.api("POST", "/links", link)["code"]
    location = server.request("GET", f"/{code}", {"User-Agent": PERSON}).headers["Location"]
    return location.partition("cid=")[2][:28]


def write_file(folder: Path, cid: str, prefix: str, sales: int) -> Path:
    rows = [f"{prefix}-{n},{cid},49.90,EUR" for n in range(sales)]
    rows += [f"{prefix}-0,,,", f"{prefix}-lost,,5,EUR", f"{prefix}-bad,{cid},ten,EUR"]
    file = folder / "sales.csv"
    file.write_text("order,cid,value,currency\n" + "\n".join(rows) + "\n")
    return file


def test_a_file_is_tried_slice_by_slice_then_stored_and_a_report_of_it_is_matched_by_hand(
    page: Page, server: Server, cid: str, tmp_path: Path
) -> None:
    set_up(page, server)
    page.goto(f"{server.url}/app/conversions/import")
    page.get_by_label("CSV file").set_input_files(write_file(tmp_path, cid, "F", SALES))
    page.get_by_role("button", name="Try it out").click()
    expect(page.get_by_role("heading", name="Tried out: nothing is stored yet")).to_be_visible(timeout=30_000)
    expect(page.get_by_text(f"{SALES + 3} of {SALES + 3} rows")).to_be_visible()
    assert server.api("GET", "/conversions")["items"] == []
    page.get_by_role("link", name="refused", exact=True).click()
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("order=F-bad")
    expect(row).to_contain_text("value")

    page.get_by_role("button", name=f"Store {SALES + 3} rows").click()
    expect(page.get_by_role("heading", name="Stored", exact=True)).to_be_visible(timeout=30_000)
    results = page.locator("ul.plain").first
    for told in (f"{SALES} recorded", "1 duplicate", "1 unmatched", "1 refused"):
        expect(results).to_contain_text(re.compile(told.replace(" ", r"\W+")))
    assert len(server.api("GET", "/conversions?limit=100")["items"]) == 100

    page.goto(f"{server.url}/app/conversions?result=unmatched&sale=F-lost")
    page.locator("tbody th a").click()
    page.get_by_label(re.compile("click id", re.IGNORECASE)).fill(cid)
    page.get_by_role("button", name="See what will happen").click()
    foreseen = page.locator("#foreseen")
    expect(foreseen).to_contain_text("+€5.00")
    assert server.api("GET", "/reports?result=unmatched")["items"] != []
    foreseen.get_by_role("button", name="Match").click()
    expect(page.get_by_role("heading", name="F-lost")).to_be_visible()
    expect(page.get_by_role("region", name="Ledger")).to_contain_text("€5.00")
    assert server.api("GET", "/reports?result=unmatched")["items"] == []


def test_without_scripts_a_file_goes_on_by_its_button(
    browser: Browser, server: Server, cid: str, tmp_path: Path
) -> None:
    plain = browser.new_context(user_agent=PERSON, java_script_enabled=False)
    tab = plain.new_page()
    sign_in(tab, server)
    tab.goto(f"{server.url}/app/conversions/import")
    tab.get_by_label("CSV file").set_input_files(write_file(tmp_path, cid, "P", 202))
    tab.get_by_role("button", name="Try it out").click()
    expect(tab.get_by_text("200 of 205 rows")).to_be_visible()
    tab.reload()
    expect(tab.get_by_text("200 of 205 rows")).to_be_visible()
    tab.get_by_role("button", name="Go on").click()
    tab.get_by_role("button", name="Store 205 rows").click()
    expect(tab.get_by_text("200 of 205 rows")).to_be_visible()
    tab.get_by_role("button", name="Go on").click()
    expect(tab.get_by_role("heading", name="Stored", exact=True)).to_be_visible()
    plain.close()
