"""The page behind the link in a mail, as a person sees it: in their language and direction, in the dark, on a phone, at twice the size, with the longest name a workflow may have;
nothing of it is refused by its own policy, and one button does it, by keyboard too. What it looks like is kept in build/shots."""
import base64, hashlib, hmac, json

import browser
from harness import Server

LOOKS = {  # how it is looked at, and by whom
    "light": ("en-GB", {}), "dark": ("en-GB", {"dark": True}), "phone": ("ar", {"width": 320, "height": 600, "touch": True}), "large": ("ja", {"width": 400, "height": 300, "scale": 2}),
}
WORDS = {"en-GB": ("en", "ltr", "Unsubscribe", "You are unsubscribed"), "ar": ("ar", "rtl", "إلغاء الاشتراك", "تم إلغاء اشتراكك"), "ja": ("ja", "ltr", "配信停止", "配信を停止しました")}
WORKFLOW = "w" * 64


def path(s, user):
    """As docs/format/outward.md says."""
    with open(s.data + "/keys/unsubscribe.key") as f:
        key = base64.urlsafe_b64decode(f.read().strip() + "==")
    said = b"\x01" + b"".join(bytes([len(v)]) + v.encode() for v in ("demo", user, WORKFLOW))
    return "/v1/unsubscribe/" + base64.urlsafe_b64encode(said + hmac.new(key, said, hashlib.sha256).digest()).decode().rstrip("=")


def same(got, want, what):
    assert got == want, f"{what}: got {got!r}, expected {want!r}"


def looks(page, what, lang, direction, title):
    same(page.evaluate("[document.documentElement.lang, document.documentElement.dir, document.title]"), [lang, direction, title], what)
    same(page.locator("h1").inner_text(), title, what)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{what}: wider than the window"
    browser.audit(page, what)
    browser.shot(page, f"unsubscribe-{what}")
    browser.faultless(page)


def main():
    s = Server(start=False)
    with open(s.dir + "/providers.json", "w") as f:
        json.dump({"providers": [{"name": "mx", "channel": "email", "host": "localhost", "from": "no-reply@example.com", "public_url": "https://kith.example"}]}, f)
    s.options = ("--providers", s.dir + "/providers.json")
    s.start()
    s.make_key()
    with browser.Browser() as b:
        for look, (locale, how) in LOOKS.items():
            lang, direction, title, done = WORDS[locale]
            user = f"u-{look}"
            same(s.call("PUT", f"/v1/users/{user}", {"email": "u@example.com"})[0], 201, user)
            page = b.page(locale=locale, **how)
            page.goto(f"http://127.0.0.1:{s.http}{path(s, user)}")
            looks(page, look, lang, direction, title)
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
            page.locator("button").wait_for(state="detached")
            looks(page, f"{look}-done", lang, direction, done)
            same(s.call("GET", f"/v1/users/{user}/preferences")[1]["workflows"], {WORKFLOW: {"email": False}}, user)
        page = b.page(locale="de")
        page.goto(f"http://127.0.0.1:{s.http}/v1/unsubscribe/cut")
        assert all("404" in fault for fault in page.faults), page.faults
        page.faults.clear()
        looks(page, "cut", "de", "ltr", "Dieser Link funktioniert nicht")
    s.close()
    print("one unsubscribes, in the language one reads")


main()
