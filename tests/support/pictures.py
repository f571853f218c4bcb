"""Pictures of report.html, to be looked at: `python -m tests.support.pictures [FOLDER]`.

Makes a run with the real commands, opens its page in Chromium, and writes PNG files at 1280 and 390 px, light and dark,
PDFs, and `readme.png`: the top of the page, for `.github/report.png`.
"""

import sys
import tempfile
from pathlib import Path

from tests.support.browser import chromium, find_chromium, opened
from tests.support.page_samples import write_evening, write_plan

README_HEIGHT = 1250


def main() -> None:
    """Make them all."""
    to = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    to.mkdir(parents=True, exist_ok=True)
    path = find_chromium()
    if path is None:
        sys.exit("there is no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, chromium(path) as browser:
        pages = {"run": write_evening(Path(folder) / "run"), "plan": write_plan(Path(folder) / "plan")}
        for name, run_folder in pages.items():
            page_file = run_folder / "report.html"
            (to / f"{name}.html").write_bytes(page_file.read_bytes())
            for width in (1280, 390):
                for dark in (False, True):
                    with opened(browser, page_file, width=width, dark=dark) as page:
                        page.screenshot(path=to / f"{name}-{width}-{'dark' if dark else 'light'}.png", full_page=True)
            with opened(browser, page_file) as page:
                page.pdf(path=to / f"{name}.pdf", format="A4", print_background=True)
        with opened(browser, pages["run"] / "report.html") as page:
            page.set_viewport_size({"width": 1280, "height": README_HEIGHT})
            page.screenshot(path=to / "readme.png")
    print(*sorted(map(str, to.iterdir())), sep="\n")


if __name__ == "__main__":
    main()
