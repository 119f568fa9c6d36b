"""Three listeners in headless Chromium: by keys, by touch and by mouse, to the right table."""

from __future__ import annotations

import asyncio
import io
import os
import re
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from listening_sets import make_set, start_server

from model.contract.segment import SAMPLE_RATE_HZ
from model.listening.plan import ANCHOR, CHECK, TEST, TRUTH, Key, load_plan
from model.listening.report import report

playwright = pytest.importorskip(
    "playwright.async_api", reason="no playwright here: install dance2music[browser]"
)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SCORES = {
    "coherence": {TRUTH: 5, "high": 4, "low": 3, ANCHOR: 1},
    "quality": {TRUTH: 5, "high": 2, "low": 3, ANCHOR: 1},
}


def chromium() -> str | None:
    """Return the system's Chromium, or None: playwright may have one of its own."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


async def launch(driver) -> object:
    """Return a headless browser, or skip where there is none."""
    path = chromium() or driver.chromium.executable_path
    if not Path(path).exists():
        pytest.skip(
            "no Chromium here: apt-get install chromium, or playwright install chromium"
        )  # fmt: skip
    # Its sandbox refuses to start for root, as which containers run.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    return await driver.chromium.launch(executable_path=path, args=options)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> tuple[Path, Key]:
    """Return a set of both parts: each listener hears one clip of each system."""
    return make_set(
        tmp_path_factory.mktemp("films"), 3, clips=2, blocks=1, clip_s=0.6, checks=1, raters=6
    )


@pytest.fixture
def server(films) -> Iterator[dict]:
    """Run the server; the fixture's dict holds the process and its link."""
    process, link = start_server(films[0])
    running = {"process": process, "link": link}
    yield running
    running["process"].kill()
    running["process"].wait()


def score(listener: int, meaning) -> int:
    """Return what a listener gives: the third misses the checks, the second is kinder to `low`."""
    if meaning.kind == CHECK:
        return meaning.answer % 5 + 1 if listener == 2 else meaning.answer
    if listener == 1 and meaning.kind == TEST and meaning.system == "low":
        return 5
    return SCORES[meaning.part][meaning.system]


async def clip_of(page) -> str:
    """Return the name of the clip on the page, once it is there."""
    source = page.locator("#stage > [src]")
    await source.wait_for(state="attached")
    return (await source.get_attribute("src")).removeprefix("media/")


async def turn(page, place: int, total: int) -> None:
    """Wait until the page is at this clip, or at the end."""
    if place < total:
        await page.locator("#way", has_text=f"Clip {place + 1} of {total}").wait_for()
    else:
        await page.get_by_role("heading", name="Thank you, that was all").wait_for()


async def by_keys(page, given: int) -> None:
    await page.keyboard.press("Space")
    await page.locator("input[value='1']:enabled").wait_for(state="attached")
    await page.keyboard.press(str(given % 5 + 1))
    await page.keyboard.press(str(given))
    await page.keyboard.press("Enter")


async def by_touch(page, given: int) -> None:
    await page.get_by_role("button", name="Play the clip").tap()
    await page.locator("input[value='1']:enabled").wait_for(state="attached")
    await page.locator("label", has=page.locator(f"input[value='{given}']")).tap()
    await page.get_by_role("button", name="Save and go on").tap()


async def by_mouse(page, given: int) -> None:
    await page.get_by_role("button", name="Play the clip").click()
    names = ["1 Bad", "2 Poor", "3 Fair", "4 Good", "5 Excellent"]
    choice = page.get_by_role("radio", name=names[given - 1])
    await choice.check()
    await page.get_by_role("button", name="Save and go on").click()


async def listen(browser, number: int, films, server: dict, seen: list[str]) -> list[str]:
    """Go through the test as listener `number`; return the clips in the order they came."""
    way = (by_keys, by_touch, by_mouse)[number]
    size = {"width": 360, "height": 640} if number == 1 else {"width": 1280, "height": 800}
    context = await browser.new_context(
        viewport=size, is_mobile=number == 1, has_touch=number == 1
    )  # fmt: skip
    page = await context.new_page()
    page.set_default_timeout(60_000)
    page.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    await page.goto(server["link"])
    start = page.get_by_role("button", name="Start")
    await start.wait_for()
    if number == 0:
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
    else:
        await (start.tap() if number == 1 else start.click())
    order: list[str] = []
    total = 14
    for place in range(total):
        await turn(page, place, total)
        item = await clip_of(page)
        order.append(item)
        if place == 3 and number == 2:
            await page.reload()
            await turn(page, place, total)
            assert await clip_of(page) == item
        if place == 1:
            await refuses_unheard(page, item)
        if place == 5 and number == 0:
            await restart(films[0], server, page, way, score(number, films[1].items[item]))
            continue
        await way(page, score(number, films[1].items[item]))
    await turn(page, total, total)
    width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0
    await context.close()
    return order


async def refuses_unheard(page, item: str) -> None:
    """Neither a key nor the button rates a clip that was not played."""
    await page.keyboard.press("3")
    await page.keyboard.press("Tab")
    await page.get_by_role("button", name="Save and go on").dispatch_event("click")
    await page.get_by_text("Play the clip to its end first.").wait_for()
    assert await page.locator("input:checked").count() == 0
    assert await clip_of(page) == item
    await page.get_by_role("button", name="Play the clip").focus()


async def restart(folder: Path, server: dict, page, way, given: int) -> None:
    """Kill the server before an answer, and start it again: the page asks until it is taken."""
    await page.keyboard.press("Space")
    await page.locator("input[value='1']:enabled").wait_for(state="attached")
    server["process"].kill()
    server["process"].wait()
    await page.keyboard.press(str(given))
    await page.keyboard.press("Enter")
    await page.get_by_role("alert").get_by_text("No connection to the server").wait_for()
    port = urlsplit(server["link"]).port
    server["process"], _ = await asyncio.to_thread(start_server, folder, port)


async def three(films, server: dict) -> tuple[list[list[str]], list[str]]:
    seen: list[str] = []
    async with playwright.async_playwright() as driver:
        browser = await launch(driver)
        orders = []
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                orders.append(group.create_task(listen(browser, number, films, server, seen)))
        await browser.close()
    return [order.result() for order in orders], seen


@pytest.mark.slow
def test_three_listeners_in_a_browser_end_in_the_right_table(films, server):
    folder = films[0]
    orders, seen = asyncio.run(three(films, server))
    place = urlsplit(server["link"])
    base = f"{place.scheme}://{place.netloc}/"
    assert [url for url in seen if not url.startswith((base, "data:,"))] == []
    plan = load_plan(folder)
    assert sorted(orders) == sorted(plan.orders[:3])
    assert len(set(map(tuple, orders))) == 3

    found = report(folder)
    people = found["listeners"]
    assert (people["joined"], people["counted"]) == (3, 2)
    (out,) = (person for person in people["each"] if person["reasons"])
    assert out["reasons"] == ["missed 2 of 2 attention checks"]
    assert plan.orders[out["number"] - 1] == orders[2]
    for part, expected in SCORES.items():
        means = {row["system"]: row["mos"] for row in found["parts"][part]["systems"]}
        assert means == {**expected, "low": (expected["low"] + 5) / 2}
        assert {row["answers"] for row in found["parts"][part]["systems"]} == {2}


async def welcome(link: str) -> tuple[list[str], str]:
    async with playwright.async_playwright() as driver:
        browser = await launch(driver)
        page = await browser.new_page(viewport={"width": 320, "height": 568})
        await page.goto(re.sub(r"\?.*", "", link))
        await page.get_by_role("button", name="Start").click()
        told = await page.get_by_role("alert").text_content(timeout=60_000)
        inputs = await page.evaluate(
            "[...document.querySelectorAll('button, input')]"
            ".filter((e) => !(e.innerText || e.ariaLabel || e.labels?.length)).map((e) => e.id)"
        )
        wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0
        await browser.close()
    return inputs, told


@pytest.mark.long
def test_every_control_has_a_name_and_a_link_without_invitation_is_explained(server):
    unnamed, told = asyncio.run(welcome(server["link"]))
    assert unnamed == []
    assert told.startswith("You cannot take part: this address lacks the invitation")


def wav(samples: int) -> bytes:
    """Return a file of silence."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        file.writeframes(bytes(2 * samples))
    return content.getvalue()


async def troubles(link: str) -> list[str]:
    """Lose a film, press keys without digits, show no picture, lose the place; return errors."""
    errors: list[str] = []
    async with playwright.async_playwright() as driver:
        browser = await launch(driver)
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        hint, lost = page.locator("#hint"), []

        async def lose_first(route) -> None:
            lost.append(route)
            await (route.abort() if len(lost) == 1 else route.continue_())

        async def without_picture(route) -> None:
            await route.fetch()
            await route.fulfill(body=wav(SAMPLE_RATE_HZ), content_type="audio/wav")

        await page.route("**/media/*", lose_first)
        await page.goto(link)
        await page.get_by_role("button", name="Start").click()
        await hint.get_by_text("The clip did not load. Trying again").wait_for()
        await hint.get_by_text("Play the clip, then choose a score.").wait_for()
        assert await page.locator(".beeps:visible").count() == 0

        await page.keyboard.press("Space")
        await page.locator("input[value='1']:enabled").wait_for(state="attached")
        press = "(key) => document.dispatchEvent(new KeyboardEvent('keydown', key))"
        for key, code, score in (("é", "Digit2", 2), ("ArrowLeft", "Numpad4", 4), ("3", "KeyA", 3)):
            await page.evaluate(press, {"key": key, "code": code})
            assert await page.locator(f"input[value='{score}']").is_checked()

        await page.unroute("**/media/*")
        await page.route("**/media/*", without_picture)
        await page.keyboard.press("Enter")
        await page.locator("#way", has_text="Clip 2 of").wait_for()
        await page.keyboard.press("Space")
        await hint.get_by_text("This browser does not show the picture").wait_for()
        assert await page.locator("input:disabled").count() == 5

        await context.clear_cookies()
        await page.unroute("**/media/*")
        await page.evaluate("media.load()")
        await page.get_by_role("button", name="Start").wait_for()
        assert not await page.locator("#test").is_visible()
        await browser.close()
    return errors


@pytest.mark.long
def test_a_page_gets_over_lost_films_and_keys_without_digits_and_needs_a_picture(tmp_path):
    folder, _ = make_set(
        tmp_path, 3, parts=("coherence",), clips=2, blocks=1, clip_s=0.6, checks=0, raters=2
    )
    process, link = start_server(folder)
    try:
        assert asyncio.run(troubles(link)) == []
    finally:
        process.kill()
        process.wait()
