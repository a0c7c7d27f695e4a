"""The page in headless Chromium, judged by axe-core, where a machine has both.

They are asked for with `LEAKAGE_AXE`, a folder in which `npm install axe-core playwright-core` was
run, and `chromium` and `node` on the PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import made_reports
import pytest

from leakage.page import page


def tools() -> list[str]:
    """Node, the folder of its modules, and a browser; a test without them is skipped, aloud."""
    node = shutil.which("node")
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    folder = os.environ.get("LEAKAGE_AXE", "")
    found = [Path(folder, "node_modules", name) for name in ("axe-core", "playwright-core")]
    if node is None or browser is None or not folder or not all(map(Path.is_dir, found)):
        lacks = (
            "NO BROWSER HAS SEEN THE PAGE: axe needs node and chromium on the PATH, and"
            " LEAKAGE_AXE, a folder with node_modules of axe-core and playwright-core"
        )
        warnings.warn(lacks, stacklevel=2)
        pytest.skip(lacks)
    return [node, str(Path(__file__).with_name("axe.mjs")), str(Path(folder).resolve()), browser]


def visited(pages: list[Path]) -> list[dict[str, Any]]:
    """What was found in each page, in light and dark, at 375 and 1280 pixels."""
    done = subprocess.run(
        [*tools(), *map(str, pages)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_axe_finds_nothing_but_what_was_planted(tmp_path: Path) -> None:
    whole = made_reports.several()
    reports = {
        # Two of four runs, to be quick; the second has an audit.
        "several": replace(
            whole,
            runs=whole.runs[:2] + made_reports.nothing().runs[1:],
            frontier=whole.frontier[:2],
        ),
        "single": made_reports.single(),
        "crowded": made_reports.crowded(secret="property_" + "long" * 60),
    }
    pages = [tmp_path / f"{name}.html" for name in (*reports, "faulty")]
    sources = [page(report) for report in reports.values()]
    faulty = sources[1].replace("--ink: #1b1d21", "--ink: #d0d0d0")
    sources.append(faulty.replace('role="img"', 'role="imag"', 1))
    for path, source in zip(pages, sources, strict=True):
        path.write_text(source, encoding="utf-8")
    found = visited(pages)
    assert len(found) == 16
    for one in found[:12]:
        where = Path(one["page"]).name, one["colorScheme"], one["width"]
        assert one["violations"] == [], where
        assert {"color-contrast", "heading-order"} <= set(one["passes"]), where
        assert one["overlaps"] == [], where
        assert one["wide"] <= one["width"], where  # nothing has to be scrolled sideways
        assert (one["asked"], one["errors"]) == (1, []), where  # the page alone
    papers = {(one["colorScheme"], one["paper"]) for one in found[:12]}
    assert papers == {("light", "rgb(255, 255, 255)"), ("dark", "rgb(21, 23, 27)")}
    planted = " ".join(found[12]["violations"])
    assert "color-contrast" in planted
    assert "aria-roles" in planted
