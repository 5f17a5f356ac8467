"""Takes the pictures of the README: python3 test/web/picture.py, after make build, on a machine that does nothing else. Of the demo itself, in a moment that shows much of it; the same in light and dark.
Letters and emoji are the machine's: Debian's fonts-inter and fonts-noto-color-emoji make them those of the pictures in the tree."""
import os

from browser import ROOT, Browser, Dev

MOST = 200_000  # bytes of a picture


def moment(page):
    ann, bob, cid = (page.locator(f"[data-person={who}]") for who in ("ann", "bob", "cid"))
    write = lambda phone, words: (phone.locator("textarea").fill(words), phone.locator("textarea").press("Enter"), page.wait_for_timeout(250))
    ann.locator(".message").first.wait_for()
    cid.locator(".row", has_text="Friends").click()
    write(bob, "My train goes into the tunnel now")
    bob.locator(".flip").click()
    page.wait_for_timeout(300)
    write(ann, "Then this waits for you at the other end")
    write(ann, "Platform 4, by the clock")
    write(bob, "Still dark in here")
    write(cid, "I have the tin for what is left of it")
    cid.locator("textarea").blur()
    page.mouse.move(5, 5)
    page.locator(".road .lane").nth(4).wait_for()
    page.wait_for_timeout(2500)


def main():
    for name, dark in (("demo", False), ("demo-dark", True)):
        dev = Dev()
        with Browser() as b:
            page = b.page(dev.url + "/", width=1360, height=850, dark=dark)
            moment(page)
            path = os.path.join(ROOT, "docs", "picture", name + ".png")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            page.screenshot(path=path)
            assert os.path.getsize(path) < MOST, f"{path}: {os.path.getsize(path)} bytes"
            print(f"{path}: {os.path.getsize(path)} bytes")
        dev.close()


main()
