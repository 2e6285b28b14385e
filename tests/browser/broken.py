"""A small page that has all a report has, and its twins that each break one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SOUND = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Twin</title>
<style>
:root { color-scheme: light dark; --ground: #fff; --ink: #222; }
@media (prefers-color-scheme: dark) { :root { --ground: #111; --ink: #ddd; } }
body { background: var(--ground); color: var(--ink); font: 16px/1.5 sans-serif; }
pre { overflow-x: auto; }
svg { width: 100%; max-width: 400px; fill: var(--ink); font-size: 20px; }
.box { fill: var(--ground); stroke: var(--ink); }
.command button { padding: 8px; }
:focus-visible { outline: 3px solid currentColor; }
summary, button { font: inherit; min-height: 24px; }
@media print { details::details-content { content-visibility: visible; } pre { white-space: pre-wrap; } }
</style>
</head>
<body>
<main>
<h1>Twin</h1>
<details id="claim"><summary>A claim</summary>
<p>The packet <a href="#claim">went</a> its way.</p>
<svg role="img" aria-label="the packet's way" viewBox="0 0 400 100">
<rect class="box" x="10" y="10" width="380" height="80"/>
<text x="20" y="40">pod-src</text>
<text x="20" y="80">pod-dest</text>
</svg>
<pre tabindex="0" role="group" aria-label="printed">IP 20.109.131.5.35096 &gt; 20.111.156.72.8080</pre>
<p class="command"><code>tcpdump -n -i eth0</code></p>
</details>
</main>
<script>
document.querySelector("main").hidden = false;
const code = document.querySelector("code");
const button = document.createElement("button");
button.textContent = "Copy the command";
button.addEventListener("click", () => navigator.clipboard.writeText(code.textContent));
code.after(button);
const show = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target) { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", show);
show();
</script>
</body>
</html>
"""


@dataclass(frozen=True)
class Twin:
    """:data:`SOUND` with ``old`` replaced by ``new``."""

    name: str
    old: str
    new: str
    check: str  #: of :data:`~tests.browser.checks.CHECKS`
    says: str  #: part of a finding that it must give
    look: dict[str, Any]  #: how the page is opened

    def page(self) -> str:
        assert self.old in SOUND, self.name
        return SOUND.replace(self.old, self.new)


def twin(name: str, old: str, new: str, check: str, says: str, **look: Any) -> Twin:
    return Twin(name, old, new, check, says, look)


FAR = "https://report.invalid/"  # RFC 6761: never resolves
END = "</body>"
CLAIM = "<p>The packet"
SCROLLS = "pre { overflow-x: auto; }"
SMALL = "<button style='all: unset; font-size: 10px; width: 9px; height: 9px'>x</button>"
FAR_DOWN = "h1 { padding: 2000px 0; } details { scroll-margin-top: 80vh; margin-bottom: 2000px; }"
HEAD = "position: fixed; inset: 0 0 auto; height: 9em; margin: 0"
TWINS = (
    twin("console error", END, "<script>console.error('oh')</script>", "noise", "console error: oh"),
    twin("console log", END, "<script>console.log('hm')</script>", "noise", "console log: hm"),
    twin("exception", END, "<script>nothing.there()</script>", "noise", "nothing is not defined"),
    twin("rejection", END, "<script>Promise.reject(new Error('no'))</script>", "noise", "error: no"),
    twin("dialog", END, "<script>alert('hey')</script>", "noise", "dialog: hey"),
    twin("image from elsewhere", CLAIM, f"<img alt='' src='{FAR}a.png'>{CLAIM}", "noise", f"{FAR}a.png"),
    twin("style from elsewhere", "<title>", f"<link rel=stylesheet href='{FAR}a.css'><title>", "noise", FAR),
    twin("script from elsewhere", END, f"<script src='{FAR}a.js'></script>", "noise", FAR),
    twin("ground from elsewhere", "<main>", f"<main style='background:url({FAR}a.png)'>", "noise", FAR),
    twin("image beside it", CLAIM, f"<img alt='' src='beside.png'>{CLAIM}", "noise", "beside.png"),
    twin("frame", CLAIM, f"<iframe title=x src='{FAR}'></iframe>{CLAIM}", "noise", FAR),
    twin("fetch", END, f"<script>fetch('{FAR}').catch(() => 0)</script>", "noise", FAR),
    twin("beacon", END, f"<script>navigator.sendBeacon('{FAR}')</script>", "noise", FAR),
    twin("socket", END, "<script>new WebSocket('wss://report.invalid/')</script>", "noise", "wss://report"),
    twin("connected early", "<title>", f"<link rel=preconnect href='{FAR}'><title>", "reaching", FAR),
    twin("picture's image", "<rect", f"<image href='{FAR}a.png'/><rect", "reaching", FAR),
    twin("no alt", CLAIM, f"<img src='data:image/gif,'>{CLAIM}", "axe", "critical: image-alt"),
    twin("no label", '"Copy the command"', '""', "axe", "critical: button-name"),
    twin("picture without words", 'aria-label="the packet\'s way"', "", "axe", "serious: svg-img-alt"),
    twin("low contrast", "--ink: #222", "--ink: #aaa", "axe", "serious: color-contrast"),
    twin("low contrast, dark", "--ink: #ddd", "--ink: #444", "axe", "color-contrast", scheme="dark"),
    twin("low contrast, seen at once", "--ink: #222", "--ink: #aaa", "faint", "<h1>"),
    twin("low contrast, drawn", '<text x="20"', '<text fill="#999" x="20"', "faint", "contrast 2.8"),
    twin("low contrast on a shape", ".box { fill: var(--ground)", ".box { fill: #555", "faint", "pod-src"),
    twin("low contrast, drawn, dark", "fill: var(--ink);", "fill: #333;", "faint", "pod-src", scheme="dark"),
    twin("too small to hit", CLAIM, SMALL + SMALL + CLAIM, "axe", "target-size", width=390),
    twin("wide text", SCROLLS, "pre { width: 500px; }", "overflowing", "<pre>", width=390),
    twin("wide text, 320 px", SCROLLS, "pre { width: 350px; }", "overflowing", "<pre>", width=320),
    twin("no viewport", '<meta name="viewport"', '<meta name="other"', "overflowing", "980", width=390),
    twin("texts on each other", 'x="20" y="80"', 'x="40" y="42"', "crowded", "pod-dest"),
    twin("text cut", 'x="20" y="80"', 'x="360" y="80"', "spilling", "cut by"),
    twin("text out of its shape", 'width="380"', 'width="60"', "spilling", "sticks out of <rect.box>"),
    twin("tiny", "font-size: 20px", "font-size: 8px", "small", "8.0 px"),
    twin("tiny, scaled", 'viewBox="0 0 400 100"', 'viewBox="0 0 1200 300"', "small", "pod-src", width=390),
    twin("tiny words", CLAIM, "<p style='font-size: 9px'>The packet", "small", "9.0 px"),
    twin("two of an id", "<pre ", '<pre id="claim" ', "doubled", "#claim is there twice"),
    twin("shut section", "<summary>", "<summary onclick='return false'>", "opening", "does not open"),
    twin("empty section", END, "<details><summary>B</summary></details>", "opening", "opens on nothing"),
    twin("covered section", END, "<div style='position: fixed; inset: 0'></div>", "opening", "lies under"),
    twin("moves", "summary, button {", "summary, button { transition: all 1s;", "moving", "moves"),
    twin("scrolls smoothly", ":root {", ":root { scroll-behavior: smooth;", "moving", "smoothly"),
    twin("no focus", "outline: 3px solid currentColor", "outline: none", "walked", "shows no focus"),
    twin(
        "not reached",
        "code.after(button)",
        "button.tabIndex = -1; code.after(button)",
        "walked",
        "not reached",
    ),
    twin("copies a prompt", "writeText(code", "writeText('$ ' + code", "copied", "pasted '$ tcpdump"),
    twin(
        "copies nothing",
        'addEventListener("click"',
        'addEventListener("dblclick"',
        "copied",
        "pasted 'nothing'",
    ),
    twin("no command", 'class="command"', 'class="line"', "copied", "there is no command"),
    twin("anchor in a shut section", "target.open = true;", "", "led", "#claim stays shut"),
    twin("anchor of nothing", 'id="claim"', 'id="other"', "led", "there is no #claim"),
    twin("anchor far down", SCROLLS, FAR_DOWN, "led", "px down"),
    twin("anchor under a head", "<h1>", f"<h1 style='{HEAD}'>", "led", "#claim lies under <h1>"),
    twin("shut on paper", "content-visibility: visible", "color: inherit", "unprinted", "tcpdump"),
    twin(
        "hidden on paper", "@media print {", "@media print { code { display: none }", "unprinted", "tcpdump"
    ),
    twin("cut off on paper", "pre-wrap", "pre; max-width: 200px", "unprinted", "<pre>"),
    twin("pale on paper", "@media print {", "@media print { h1 { color: #bbb }", "unprinted", "<h1>"),
    twin("dead button", CLAIM, f"<button>Copy</button>{CLAIM}", "unscripted", 'Copy" does nothing'),
    twin("shown by script", "<main>", "<main hidden>", "unscripted", "only by script: Twin"),
    twin("words by script", END, "<script>code.append(' -v')</script>", "unscripted", "only by script: -v"),
)
