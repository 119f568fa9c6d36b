"""The studio in headless Chromium: upload, sound, A and B, a phone, keys, no other machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from studios import film, start_server

pytest.importorskip("gradio", reason="no Gradio here: install dance2music[studio]")
playwright = pytest.importorskip(
    "playwright.async_api", reason="no playwright here: install dance2music[browser]"
)

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WAIT_MS = 300_000
PLAY = """async (video) => {
  await video.play();
  const from = video.currentTime;
  for (let n = 0; n < 200 && !video.ended && video.currentTime < from + 0.3; n++)
    await new Promise((then) => setTimeout(then, 100));
  return [video.currentTime - from, video.webkitAudioDecodedByteCount, video.videoWidth];
}"""


async def launch(driver):
    """Return a headless browser, or skip where there is none."""
    system = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    path = system or driver.chromium.executable_path
    if not Path(path).exists():
        pytest.skip("no Chromium here: apt-get install chromium, or playwright install chromium")
    options = ["--autoplay-policy=no-user-gesture-required"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []
    return await driver.chromium.launch(executable_path=path, args=options, timeout=WAIT_MS)


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> Iterator[str]:
    process, found = start_server(tmp_path_factory.mktemp("studio") / "work")
    yield found
    process.kill()
    process.wait()


async def opened(browser, address: str, seen: list[str], **more):
    """Return a page of a new user; what it asks for, and its errors, go to `seen`."""
    context = await browser.new_context(accept_downloads=True, **more)
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    await page.goto(address, wait_until="domcontentloaded")
    await page.locator("#make").wait_for()
    return page


async def upload(page, path: Path) -> None:
    await page.locator("#film input[type=file]").first.set_input_files(str(path))
    named = "(name) => document.querySelector('#upload input').value.includes(name)"
    await page.wait_for_function(named, arg=path.stem)


async def compares(address: str, dance: Path) -> tuple[list[str], dict]:
    seen: list[str] = []
    found: dict = {}
    async with playwright.async_playwright() as driver:
        browser = await launch(driver)
        page = await opened(browser, address, seen)
        await page.locator("#make").click()
        await page.get_by_role("alert").get_by_text("first bring a video").wait_for()
        await upload(page, dance)
        await page.locator("#look video").wait_for()
        await page.locator("#make").click()
        await page.locator("#result-a video").wait_for()
        await page.locator("#another").click()
        await page.locator("#result-b video").wait_for()
        found["seed"] = await page.locator("#seed input").input_value()
        found["a"] = await page.locator("#result-a video").evaluate(PLAY)
        found["b"] = await page.locator("#result-b video").evaluate(PLAY)
        found["paused"] = await page.locator("#result-a video").evaluate("(v) => v.paused")
        found["text"] = await page.locator("#result-a").inner_text()
        for kind, link in (("mp4", 0), ("wav", 1)):
            async with page.expect_download() as waited:
                await page.locator("#result-a a").nth(link).click()
            found[kind] = Path(await (await waited.value).path()).read_bytes()
        await page.reload()
        await page.locator("#side-a input").wait_for()
        other = await opened(browser, address, seen)
        await other.wait_for_timeout(3000)
        found["other"] = await other.locator("#side-a input").input_value()
        await browser.close()
    return seen, found


@pytest.mark.slow
def test_a_video_is_uploaded_made_heard_compared_and_downloaded(address, tmp_path):
    dance = film(tmp_path, "dance.mp4", 4.2)
    seen, found = asyncio.run(compares(address, dance))
    assert [url for url in seen if not url.startswith((address, "data:", "blob:"))] == []
    assert found["seed"] == "1"
    for side in ("a", "b"):
        moved_s, sound_bytes, width = found[side]
        assert moved_s > 0.2 and sound_bytes > 0 and width > 0
    assert found["paused"]  # B plays now
    assert "model generate --run notes --seed 0 --video dance.mp4 --out music" in found["text"]
    assert "UNTRAINED: a stand-in" in found["text"]
    assert found["mp4"] == dance.read_bytes() and found["wav"].endswith(b" 0")
    assert found["other"] == ""


async def small_and_by_keys(address: str, dance: Path) -> dict:
    seen: list[str] = []
    found: dict = {"seen": seen}
    async with playwright.async_playwright() as driver:
        browser = await launch(driver)
        size = {"width": 360, "height": 640}
        page = await opened(browser, address, seen, viewport=size, is_mobile=True, has_touch=True)
        await upload(page, dance)
        await page.locator("#make").tap()
        await page.locator("#result-a video").wait_for()
        found["wide"] = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        page = await opened(browser, address, seen)
        await page.locator("#film input[type=file]").first.wait_for(state="attached")
        await page.wait_for_timeout(3000)  # Gradio gives its buttons their work after drawing them
        stops: list[str] = []
        for _ in range(40):
            await page.keyboard.press("Tab")
            stop = await page.evaluate(
                "(document.activeElement.closest('[id]') || document.body).id + ' ' "
                "+ document.activeElement.tagName"
            )
            stops.append(stop)
            if stop == "film BUTTON":
                break
        async with page.expect_file_chooser() as waited:
            await page.keyboard.press("Enter")
        await (await waited.value).set_files(str(dance))
        named = "(name) => document.querySelector('#upload input').value.includes(name)"
        await page.wait_for_function(named, arg=dance.stem)
        for _ in range(40):
            await page.keyboard.press("Tab")
            stop = await page.evaluate("document.activeElement.id")
            stops.append(stop)
            if stop == "make":
                break
        await page.keyboard.press("Enter")
        await page.locator("#result-a video").wait_for()
        found["stops"] = stops
        await browser.close()
    return found


@pytest.mark.slow
def test_the_page_fits_a_phone_and_can_be_used_by_keys_alone(address, tmp_path):
    found = asyncio.run(small_and_by_keys(address, film(tmp_path, "keys.mp4", 2.2)))
    assert found["wide"] <= 0
    assert "make" in found["stops"]
    assert not [url for url in found["seen"] if url.startswith("error: ")]
