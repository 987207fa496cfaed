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
BEGIN, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def kernels_hash() -> str:
    """A digest of csrc/ and kernels/: names and contents."""
    digest = hashlib.sha256()
    for folder in ("csrc", "kernels"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".py"):
                digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def record(raw: Path, name: str) -> None:
    """Writes results/<name>.json."""
    import torch

    run = json.loads(raw.read_text())
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    result = {
        "machine": run["machine_info"]["cpu"].get("brand_raw", platform.machine()),
        "threads": 2,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "commit": commit.stdout.strip(),
        "kernels": kernels_hash(),
        "rows": {row["name"].removeprefix("test_"): row["extra_info"] for row in run["benchmarks"]},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def table() -> str:
    """The table of every result, in Markdown.

    Raises:
        SystemExit: a result is of other kernels.
    """
    lines = []
    for path in sorted(RESULTS.glob("*.json")):
        result = json.loads(path.read_text())
        if result["kernels"] != kernels_hash():
            raise SystemExit(f"{path.name} was measured on other kernels than the tree's; run `make bench` again.")
        lines += [
            f"{result['machine']}, {result['threads']} threads, torch {result['torch']}; medians of paired runs.",
            "",
            "| workload | ms per image | of its yardstick | faster than eager PyTorch | than the published code |",
            "|---|---|---|---|---|",
        ]
        for name, row in result["rows"].items():
            yardsticks = [other for other in row["ratio"] if other not in ("eager", "published")]
            shares = [f"{row['ratio'][other]:.1%} ({other})" for other in yardsticks]
            speedups = [
                f"{1 / row['ratio'][other]:,.0f}x" if other in row["ratio"] else "" for other in ("eager", "published")
            ]
            cells = [name, f"{row['ms_per_image']['ours']:.3g}", ", ".join(shares)]
            lines.append("| " + " | ".join(cells + speedups) + " |")
        lines.append("")
    return "\n".join(lines)


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
