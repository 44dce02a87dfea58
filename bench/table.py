"""What every benchmark shares: `python bench/NAME.py [--quick] [--json FILE]`, a table of figure, bar and verdict; exit code 1 for a missed bar."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured thing. A bar is the largest figure that is still good."""

    what: str
    figure: float
    bar: float
    unit: str

    @property
    def ok(self) -> bool:
        """True when the bar is held."""
        return self.figure <= self.bar


@dataclass
class Table:
    """The rows of one run. `quick` asks for fewer repeats, so that the whole run ends within 50 s."""

    name: str
    quick: bool = False
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, figure: float, bar: float, unit: str) -> None:
        """Add a row and show it at once."""
        row = Row(what, figure, bar, unit)
        self.rows.append(row)
        verdict = "ok" if row.ok else "MISSED"
        print(f"{row.what:<72} {_number(row.figure):>9} {row.unit:<3} bar {_number(row.bar):>8} {row.unit:<3} {verdict}", flush=True)

    def note(self, text: str) -> None:
        """Say how it was measured."""
        self.notes.append(text)
        print(f"  {text}", flush=True)


def run(name: str, measure: Callable[[Table], None]) -> None:
    """The main function of a benchmark: reads the command line, measures, writes JSON, exits 0 or 1."""
    parser = argparse.ArgumentParser(description=f"Benchmark {name}.")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, ends within 50 s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    table, started = Table(name, options.quick), time.time()
    before = _load()
    measure(table)
    table.note(f"{os.cpu_count()} cores, load average {before} before and {_load()} after, {time.time() - started:.0f} s")
    if options.json:
        facts = {"name": name, "time": started, "machine": platform.platform(), "python": platform.python_version(), "notes": table.notes}
        options.json.write_text(json.dumps(facts | {"rows": [asdict(row) | {"ok": row.ok} for row in table.rows]}, indent=1) + "\n")
    sys.exit(0 if table.rows and all(row.ok for row in table.rows) else 1)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _number(value: float) -> str:
    return f"{value:.4g}" if value < 100 else f"{value:.0f}"
