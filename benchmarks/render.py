"""`synth render` on a 60-page SOP against the bare PyMuPDF loop: same pages, same dpi, a PNG of each written.

    python benchmarks/render.py [--pages 60] [--runs 5]

The loop opens the PDF, draws each page and writes its PNG, and does nothing else. Ours also reads the text and its layout, keeps both in the
store, names images by their hash, and does all that in reader processes that it has to start. Runs take turns, each in a process of its own,
timed after its imports; medians. Aim: 0.9 x the loop's pages a second or more.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from near_dedup import ROOT, machine

AIM = 0.9
SOPS = ROOT / "docs/examples/sops"


def made(path: Path, pages: int) -> None:
    """A PDF of so many different pages, out of the shipped SOPs."""
    import pymupdf

    with pymupdf.open() as whole:
        while whole.page_count < pages:
            for source in sorted(SOPS.glob("*.pdf")):
                with pymupdf.open(source) as one:
                    whole.insert_pdf(one)
        whole.delete_pages(range(pages, whole.page_count)) if whole.page_count > pages else None
        for page in whole:
            page.insert_text((500, 40), f"{page.number + 1}", fontsize=9)
        whole.save(path, garbage=3, deflate=True)


def bare(path: Path, folder: Path) -> None:
    import pymupdf

    from synth.documents.limits import Limits

    limits = Limits()
    with pymupdf.open(path) as document:
        for page in document:
            scale = min(limits.dpi / 72, limits.longest_px / max(page.rect.width, page.rect.height))
            page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False).save(folder / f"{page.number}.png")


def ours(path: Path, folder: Path, workers: int | None) -> None:
    from synth.config import RenderingSettings
    from synth.documents.load import load

    (document,) = load([path], RenderingSettings(workspace=folder, workers=workers))
    assert len({page.image for page in document.pages}) == len(document.pages)


def one(how: str, path: Path) -> None:
    """Time one run and print it; the whole process is this run's."""
    if how == "bare":
        import pymupdf  # noqa: F401
    else:
        import synth.documents.load  # noqa: F401
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        if how == "bare":
            bare(path, Path(folder))
        else:
            ours(path, Path(folder), int(how) or None)
        took = time.perf_counter() - began
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)  # imports and all
    print(
        json.dumps(
            {"s": took, "cpu_s": cpu, "self_mb": used[0].ru_maxrss / 1024, "reader_mb": used[1].ru_maxrss / 1024}
        )
    )


def run(how: str, path: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--one", how, str(path)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.one[0], Path(args.one[1]))
        return
    cases = {"the bare loop": "bare", "synth render": "0", "synth render workers=1": "1"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sop.pdf"
        made(path, args.pages)
        rounds = [{name: run(how, path) for name, how in cases.items()} for _ in range(args.runs)]
    print(f"machine: {machine()}\n{args.pages} pages, median of {args.runs}\n")
    print("| | s | pages/s | x the loop | CPU-s | peak MB | largest reader, MB |\n|---|---|---|---|---|---|---|")
    took = {name: median(each[name]["s"] for each in rounds) for name in cases}
    for name in cases:
        mb, reader = (max(each[name][key] for each in rounds) for key in ("self_mb", "reader_mb"))
        ratio = took["the bare loop"] / took[name]
        cpu = median(each[name]["cpu_s"] for each in rounds)
        shown = f"{reader:.0f}" if name != "the bare loop" else ""
        print(
            f"| {name} | {took[name]:.2f} | {args.pages / took[name]:.1f} | {ratio:.2f} | {cpu:.1f} | {mb:.0f} | {shown} |"
        )
    ratio = took["the bare loop"] / took["synth render"]
    print(f"\naim: {AIM} x the loop: {'met' if ratio >= AIM else 'MISSED'} ({ratio:.2f} x)")


if __name__ == "__main__":
    main()
