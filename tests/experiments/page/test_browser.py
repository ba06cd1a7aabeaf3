"""The page in a browser: skipped, with the reason, where there is no Chromium to open it with."""

import os
import shutil

import pytest

from experiments import report as command
from icl.reporting.report import write_report
from tests.experiments.made_up import report

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SCREENSHOTS = os.environ.get("ICL_SCREENSHOTS")
"""Folder that receives pictures of the page, for looking at them."""


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not here (Debian: apt-get install chromium)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pip install 'genomic-icl[browser]'"
    )
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=0
        )
        yield launched
        launched.close()


def new_page(browser, **settings):
    """A page without time limits: a busy machine is no failure."""
    opened = browser.new_page(**settings)
    opened.set_default_timeout(0)
    return opened


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    pytest.importorskip("altair", reason="pip install 'genomic-icl[page]'")
    pytest.importorskip("vl_convert", reason="pip install 'genomic-icl[page]'")
    folder = tmp_path_factory.mktemp("runs")
    made = [
        report(method, tokens=k, accuracy=a + s / 100, seed=s, task=task)
        for task in ("made_up", "other")
        for s in range(2)
        for method, k, a in (
            ("soft_prompt", 0, 0.6),
            ("soft_prompt", 4, 0.7),
            ("soft_prompt", 16, 0.8),
            ("deep_prompt", 0, 0.6),
            ("deep_prompt", 16, 0.75),
            ("gc_only", None, 0.66),
        )
    ]
    made.append(report("gc_only", accuracy=0.5, task="without_prompts"))
    for number, one in enumerate(made):
        place = folder / one.setup.task / one.setup.method / f"{number:012x}"
        place.mkdir(parents=True)
        write_report(place, one)
    (folder / "audit_made_up.csv").write_text(
        "task,question,rows,answer,finding\n"
        "made_up,verdict,,No leak: no test row is a copy of a training row.,\n"
        "made_up,near-duplicate,test rows in train,0 of 1000,\n"
    )
    assert command.main([f"runs={folder}"]) == 0
    return f"file://{folder}/report.html"


@pytest.fixture(params=[1400, 390])
def page(browser, address, request):
    """The open page; it must not have complained, nor asked for anything but itself."""
    opened = new_page(browser, viewport={"width": request.param, "height": 844})
    complaints, requests = [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("request", lambda asked: requests.append(asked.url))
    opened.goto(address)
    opened.wait_for_selector(".names li")
    yield opened
    opened.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [address]


def names(page):
    return [
        text.rpartition(" ")[0]
        for text in page.locator("figure").first.locator(".names li").all_inner_texts()
    ]


def test_a_hover_shows_the_point_its_interval_and_its_settings(page):
    page.locator(".plot").first.scroll_into_view_if_needed()
    # The last marks that are drawn are the means: whatever lies below, they can be pointed at.
    mark = page.locator(".plot").first.locator(".mark-symbol.layer_7_marks path").last
    box = mark.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    text = page.locator("#tooltip").inner_text()
    assert "soft_prompt" in text and "16 prompt tokens" in text
    assert "accuracy 0.805 (95 % from" in text and "mean of 2 runs" in text


def test_the_keyboard_moves_from_point_to_point(page):
    page.locator(".plot").first.focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("#tooltip").inner_text()
    page.keyboard.press("ArrowRight")
    second = page.locator("#tooltip").inner_text()
    assert "deep_prompt" in first and "0 prompt tokens" in first
    assert "16 prompt tokens" in second and page.locator("#announcer").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tooltip").is_hidden()


def test_filters_change_lines_tasks_and_table(page):
    assert names(page) == ["deep_prompt", "soft_prompt", "gc_only", "best possible", "chance"]
    rows = page.locator("#table tbody:visible")
    lines = page.locator(".plot").first.locator(".mark-line path")
    assert (rows.count(), lines.count()) == (25, 2)
    page.get_by_role("checkbox", name="deep_prompt").uncheck()
    assert names(page) == ["soft_prompt", "gc_only", "best possible", "chance"]
    assert (rows.count(), lines.count()) == (17, 1)
    page.get_by_role("checkbox", name="other").uncheck()
    assert page.locator("figure:visible").count() == 2 and rows.count() == 9
    page.get_by_role("button", name="Show everything").click()
    page.locator(".names button", has_text="gc_only").first.click()
    assert names(page) == ["gc_only", "best possible", "chance"] and rows.count() == 5


def test_the_table_is_sorted_by_what_is_clicked(page):
    heading = page.locator("#table thead th", has_text="Accuracy")

    def values():
        return [
            float(v.split()[0])
            for v in page.locator("#table tbody:visible td:nth-of-type(5)").all_inner_texts()
        ]

    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending" and values() == sorted(values())
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True) and values()[0] == 0.81


def test_every_command_is_in_sight_below_its_figures(page):
    width = page.viewport_size["width"]
    for command_of_run in page.locator("#table .command code").all()[:3]:
        box = command_of_run.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert command_of_run.inner_text().startswith("python -m icl.run task=")
    assert page.locator("#table .command button").count() == 25


def test_a_task_without_prompts_has_no_axis_of_prompt_tokens(page):
    pictures = page.locator(".plot")
    assert "prompt tokens" in pictures.nth(0).locator("svg").text_content()
    text = pictures.nth(2).locator("svg").text_content()
    assert "accuracy" in text and "prompt tokens" not in text


def test_cells_of_a_table_of_words_have_the_whole_width_of_a_phone(page):
    answer = page.locator("table.stacked td", has_text="no test row is a copy").bounding_box()
    assert answer["width"] >= 340 and answer["height"] <= 80
    text = page.locator("section", has=page.locator("#audit")).inner_text()
    assert text.count("task made_up") == 1  # in the heading, and not in every row
    assert "finding" not in text  # the column is empty


def test_the_page_is_dark_where_the_reader_s_system_is(browser, address):
    opened = new_page(browser, color_scheme="dark")
    opened.goto(address)
    opened.wait_for_selector(".names li")
    paper = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(22, 24, 26)"
    picture = opened.locator(".plot svg").first
    assert "invert" in picture.evaluate("one => getComputedStyle(one).filter")
    assert picture.evaluate("one => one.style.backgroundColor") in ("", "transparent")
    opened.close()


def test_names_of_lines_are_cut_so_that_they_differ(page):
    names = [f"soft_prompt, 16 shots (a_long_option=the_same, other={n}_long)" for n in (1, 2)]
    script = page.locator("script[type=module]").text_content()
    start = script.index("function shorter")
    function = script[start : script.index("\n}\n", start) + 2]
    cut = page.evaluate(f"(names) => {{ {function} return shorter(names, 26); }}", names)
    assert cut == ["soft_prompt, other=1_long", "soft_prompt, other=2_long"]
    alike = ["a" * 40, "a" * 41, "a short one"]
    cut = page.evaluate(f"(names) => {{ {function} return shorter(names, 26); }}", alike)
    assert len(set(cut)) == 3 and max(map(len, cut)) <= 26


def test_nothing_is_wider_than_the_window_and_it_prints(page):
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/page_{width}.png", full_page=True)
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.locator("#choices").is_hidden() and page.locator(".plot svg").first.is_visible()


def test_what_a_search_tried_once_are_dots_of_one_name(browser, tmp_path):
    for number in range(9):
        one = report(tokens=number, accuracy=0.6 + number / 100, options={"lr": 0.1 + number})
        place = tmp_path / one.setup.task / one.setup.method / f"{number:012x}"
        place.mkdir(parents=True)
        write_report(place, one)
    assert command.main([f"runs={tmp_path}"]) == 0
    opened = new_page(browser, viewport={"width": 1400, "height": 844})
    opened.goto(f"file://{tmp_path}/report.html")
    opened.wait_for_selector(".names li")
    assert opened.locator(".names li").all_inner_texts() == [
        "soft_prompt: 9 settings, one run each",
        "best possible 0.950",
        "chance 0.500",
    ]
    assert opened.locator(".mark-symbol.layer_5_marks path").count() == 9
    assert opened.locator(".mark-line path").count() == 0
    opened.locator(".plot").focus()
    opened.keyboard.press("ArrowRight")
    assert "lr=0.1" in opened.locator("#tooltip").inner_text()
    opened.close()
