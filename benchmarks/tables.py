"""From pytest-benchmark's JSON to results/<machine>.json and the table in the README.

``python benchmarks/tables.py record RAW.json NAME`` keeps what matters of a run; ``... readme`` renews the table, and
refuses a result that was measured on other kernels than the tree's.
"""

import hashlib
import json
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
#: How often faster than what takes a forward pass per unit.
PER_UNIT = "speed-up over one pass per unit"
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def kernels_hash(kind: str = "cpu") -> str:
    """A digest of the code that a CPU or a GPU runs, of csrc/ and kernels/: names and contents."""
    digest = hashlib.sha256()
    for folder in ("csrc",) if kind == "cpu" else ("csrc", "kernels"):
        for path in sorted((ROOT / folder).rglob("*")):
            other = "cuda" if kind == "cpu" else "cpu"
            if path.suffix in (".h", ".cpp", ".cu", ".cuh", ".py") and path.parent.name != other:
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def record(raw: Path, name: str) -> None:
    """Writes results/<name>.json; rows that were not measured now stay, if nothing else has changed since."""
    import torch

    run = json.loads(raw.read_text())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    path = RESULTS / f"{name}.json"
    result = {
        "machine": run["machine_info"]["cpu"].get("brand_raw", platform.machine()),
        "threads": 2,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kernels": kernels_hash(),
    }
    before = json.loads(path.read_text()) if path.exists() else {}
    rows = before.get("rows", {}) if all(before.get(key) == value for key, value in result.items()) else {}
    for row in run["benchmarks"]:
        rows[row["name"].removeprefix("test_")] = {"commit": commit.stdout.strip(), **row["extra_info"]}
    result["rows"] = rows
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def table() -> str:
    """The tables of every result, in Markdown; a GPU's, which is seldom at hand, may be of earlier kernels and says so.

    Raises:
        SystemExit: a CPU's result is of other kernels.
    """
    lines = []
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        kind = result.get("kind", "cpu")
        if result["kernels"] != kernels_hash(kind) and kind == "cpu":
            raise SystemExit(f"{path.name} was measured on other kernels than the tree's; run `make bench` again.")
        lines += [*(cpu_table(result) if kind == "cpu" else gpu_table(result)), ""]
    return "\n".join(lines)


def cpu_table(result: dict) -> list[str]:
    """Its lines."""
    lines = [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}; medians of paired runs.",
        "",
        "| workload | ms per image | of its yardstick | faster than eager PyTorch | than the published code |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        yardsticks = [other for other in row["ratio"] if other not in ("eager", "published")]
        shares = [f"{share_of(row['ratio'][other])} ({other})" for other in yardsticks]
        speedups = [
            f"{1 / row['ratio'][other]:,.0f}x" if other in row["ratio"] else "" for other in ("eager", "published")
        ]
        if PER_UNIT in row:
            speedups[0] = f"{row[PER_UNIT]:.3g}x (one pass per unit)"
        ms = row["ms_per_image"]["ours"]
        cells = [name, f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}", ", ".join(shares)]
        lines.append("| " + " | ".join(cells + speedups) + " |")
    return lines


def share_of(ratio: float) -> str:
    """In percent as long as that is easily read."""
    return f"{ratio:.1%}" if ratio < 10 else f"{ratio:,.0f} times"


def gpu_table(result: dict) -> list[str]:
    """Its lines."""
    earlier = result["kernels"] != kernels_hash("gpu")
    since = f" Measured at {result['commit'][:7]}; the kernels have changed since." if earlier else ""
    lines = [
        f"{result['machine']}, torch {result['torch']}, CUDA {result['cuda']}; medians of CUDA events, bfloat16."
        f"{since}",
        "",
        "| workload | us per image | floor | images/s | GB/s that must move | of a copy's | target | faster than |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        others = [f"{times:,.1f}x ({other})" for other, times in row.get("faster", {}).items()]
        if "times_of_forward" in row:
            others.append(f"takes {row['times_of_forward']:.2f} of the bare forward loop")
        share, floor = row.get("share_of_copy"), row.get("floor_ms")
        images = row["ms"] * row["images_per_s"] / 1e3 if "images_per_s" in row else None
        targets = [
            f"{goal['of']} {goal['must_be']}: {'met' if goal['met'] else 'missed'}" for goal in row.get("targets", [])
        ]
        cells = [
            name,
            f"{row['us_per_image']:.3g}" if "us_per_image" in row else "",
            f"{1e3 * floor / images:.3g}" if floor and images else "",
            f"{row['images_per_s']:,.0f}" if "images_per_s" in row else "",
            f"{row['gb_per_s']:,.0f}" if "gb_per_s" in row else "",
            "" if share is None else f"{share:.0%}",
            ", ".join(targets),
            ", ".join(others),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def renew_readme() -> None:
    """Replaces what stands between the markers."""
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{table()}{END}{after}")


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]), sys.argv[3])
    else:
        renew_readme()
