"""What comes before and after the documentation's pages are built.

    python docs/site.py together OUT    # the sources of all pages, put into OUT, where the course's lessons are already
    python docs/site.py finish SITE     # formulas drawn; every link, picture and public name checked

Links that lead out of the documentation lead to the project's files. Formulas become MathML, which browsers draw
without any script. Every name that `import veduta` gives has its place in the reference.
"""

import html
import html.parser
import re
import shutil
import sys
import urllib.parse
from pathlib import Path

import latex2mathml.converter

import veduta

HERE = Path(__file__).parent
ROOT = HERE.parent
FILES = "https://github.com/veduta/veduta/blob/main"
EXTRA = {"changelog.md": ROOT / "CHANGELOG.md", "benchmarks.md": ROOT / "benchmarks" / "README.md"}
FOLDERS = ("", "tutorials", "api", "course")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.S)
PRIME = re.compile(r"<msup>(<mi>\w</mi>)<mi>(&#x0*2032;)</mi></msup>")  # it stands high by itself
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def assemble(out):
    """Copy all pages, links made to lead where things are now; docs/pictures.py draws the pictures."""
    shutil.copytree(HERE / "assets", out / "assets", dirs_exist_ok=True)
    pages = {page.relative_to(HERE): page for folder in FOLDERS for page in (HERE / folder).glob("*.md")}
    for place, page in {**pages, **{Path(name): path for name, path in EXTRA.items()}}.items():
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        (out / place).write_text(relinked(page.read_text("utf-8"), page, place), "utf-8")


def relinked(text, page, place):
    """Return a page's text with its links as seen from its place on the site."""
    moved = {path.resolve(): name for name, path in EXTRA.items()}

    def to(match):
        opening, target, anchor, closing = match.groups()
        if urllib.parse.urlsplit(target).scheme:
            return match[0]
        path = (page.parent / target).resolve()
        if path in moved:
            target = moved[path]
        elif path.is_relative_to(HERE):
            target = path.relative_to(HERE).as_posix()
        else:
            return f"{opening}{FILES}/{path.relative_to(ROOT).as_posix()}{anchor or ''}{closing}"
        up = "../" * (len(place.parts) - 1)
        return f"{opening}{up}{target}{anchor or ''}{closing}"

    return LINK.sub(to, text)


def draw_formulas(site):
    """Put MathML in the place of every formula of the pages of a site."""
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        drawn = FORMULA.sub(_mathml, text)
        if drawn != text:
            page.write_text(drawn, "utf-8")


def _mathml(match):
    display = "block" if match[2] == "[" else "inline"
    mathml = latex2mathml.converter.convert(html.unescape(match[3]), display=display)
    mathml = PRIME.sub(r"<mrow>\1<mo lspace='0' rspace='0'>\2</mo></mrow>", mathml)
    return f'<div class="formula">{mathml}</div>' if display == "block" else mathml


class Links(html.parser.HTMLParser):
    """What a page links to and shows, and the anchors it has."""

    def __init__(self):
        super().__init__()
        self.targets, self.anchors = [], set()

    def handle_starttag(self, tag, attributes):
        """Note a tag's link and name."""
        values = dict(attributes)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag in ("a", "img", "script", "link"):
            self.targets += [values[key] for key in ("href", "src") if values.get(key)]


def check(site):
    """Return what is wrong with the links of a site's pages, and which public names have no place on them."""
    pages = {}
    for page in site.rglob("*.html"):
        pages[page] = links = Links()
        links.feed(page.read_text("utf-8"))
    wrong = []
    for page, links in pages.items():
        for target in links.targets:
            parts = urllib.parse.urlsplit(target)
            if parts.scheme or parts.netloc or page.name == "404.html":
                continue
            path = page if not parts.path else (page.parent / urllib.parse.unquote(parts.path)).resolve()
            path = path / "index.html" if path.is_dir() else path
            anchor = urllib.parse.unquote(parts.fragment)
            if not path.exists() or (anchor and path in pages and anchor not in pages[path].anchors):
                wrong.append(f"{page.relative_to(site)} leads to {target}")
    names = {f"{getattr(veduta, name).__module__}.{name}" for name in veduta.__all__ if name != "__version__"}
    anchors = set().union(*(links.anchors for links in pages.values()))
    wrong += [f"{name} is public and not in the reference: docs/api" for name in names - anchors]
    return sorted(set(wrong))


def main():
    """Do what the command line says."""
    step, folder = sys.argv[1], Path(sys.argv[2]).resolve()
    if step == "together":
        assemble(folder)
        return
    draw_formulas(folder)
    if wrong := check(folder):
        raise SystemExit("\n".join(wrong))
    print("every link leads somewhere")


if __name__ == "__main__":
    main()
