"""From pytest-benchmark's JSON to results/<machine>.json, the page of benchmarks, and the README's three rows of it.

``python benchmarks/tables.py record RAW.json NAME`` keeps what matters of a run; ``... readme`` renews both tables, and
refuses a result that was measured on other kernels than the tree's.
"""

import datetime
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
#: What a GPU's targets are of, in words.
GOALS = {
    "images_per_s": "images/s",
    "us_per_image": "us per image",
    "share_of_copy": "share of a copy's",
    "times_iou_counts": "times one iou_counts",
    "times_of_forward": "of the forward loop",
    "times_published": "times the published code",
}
PAGE = "docs/engine/benchmarks.md"
#: What the README shows of the CPU's, and how it says it.
IN_README = {
    "dissect_conv5_3[scenes]": "`dissect.dissect`, conv5_3 of VGG-16: all visits, counts, decoys and intervals",
    "importance_of_vgg16_conv5_3": "`dissect.unit_importance`, the same layer: every class without every unit",
    "iou_counts[512 units 14x14 to 224x224-patches]": "`ops.iou_counts`, 512 units 14x14 over planes of 224x224",
}


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
    path, day = RESULTS / f"{name}.json", datetime.date.today().isoformat()
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
        rows[row["name"].removeprefix("test_")] = {"commit": commit.stdout.strip(), "day": day, **row["extra_info"]}
    result["rows"] = rows
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def results() -> list[dict]:
    """Every result; a GPU's, which is seldom at hand, may be of earlier kernels, and its table says so.

    Raises:
        SystemExit: a CPU's result is of other kernels.
    """
    found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    for result in found:
        if "kind" not in result and result["kernels"] != kernels_hash():
            raise SystemExit(
                f"{result['machine']} was measured on other kernels than the tree's; run `make bench` again."
            )
    return found


def days(rows: list[dict]) -> str:
    """When they were measured: the first and the last day."""
    found = sorted(row["day"] for row in rows)
    return " to ".join(dict.fromkeys((found[0], found[-1])))


def cpu_table(result: dict, shown: dict[str, str] | None = None) -> list[str]:
    """Its lines, of all rows or of those that are shown, by the names that they have there."""
    lines = [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}, measured "
        f"{days(list(result['rows'].values()))}; medians of paired runs.",
        "",
        "| workload | ms per image | of its yardstick | faster than eager PyTorch | than the published code |",
        "|---|---:|---|---|---|",
    ]
    for name in shown or result["rows"]:
        row = result["rows"][name]
        yardsticks = [other for other in row["ratio"] if other not in ("eager", "published")]
        shares = [f"{share_of(row['ratio'][other])} ({other})" for other in yardsticks[: 1 if shown else None]]
        speedups = [
            times_of(1 / row["ratio"][other]) if other in row["ratio"] else "" for other in ("eager", "published")
        ]
        if PER_UNIT in row:
            speedups[0] = f"{row[PER_UNIT]:.3g}x (one pass per unit)"
        ms = row["ms_per_image"]["ours"]
        cells = [(shown or {}).get(name, name), f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}", ", ".join(shares)]
        lines.append("| " + " | ".join(cells + speedups) + " |")
    return lines


def times_of(speedup: float) -> str:
    """In two digits where it is small: it may be below 1."""
    return f"{speedup:,.0f}x" if speedup >= 10 else f"{speedup:.2g}x"


def share_of(ratio: float) -> str:
    """In percent as long as that is easily read."""
    return f"{ratio:.1%}" if ratio < 10 else f"{ratio:,.0f} times"


def target_of(goal: dict) -> str:
    """A target, and whether it was met."""
    sign, bound = goal["must_be"].split()
    return f"{GOALS[goal['of']]} {sign} {float(bound):,.10g}: {'met' if goal['met'] else 'missed'}"


def gpu_table(result: dict) -> list[str]:
    """Its lines."""
    earlier = result["kernels"] != kernels_hash("gpu")
    since = f" It was commit {result['commit'][:7]}; the kernels have changed since." if earlier else ""
    lines = [
        f"{result['machine']}, torch {result['torch']}, CUDA {result['cuda']}, measured {result['day']}; medians of "
        f"CUDA events, bfloat16.{since}",
        "",
        "| workload | us per image | floor | images/s | GB/s that must move | of a copy's | target | faster than |",
        "|---|---:|---:|---:|---:|---:|---|---|",
    ]
    for name, row in result["rows"].items():
        others = [f"{times:,.1f}x ({other})" for other, times in row.get("faster", {}).items()]
        if "times_of_forward" in row:
            others.append(f"takes {row['times_of_forward']:.2f} of the bare forward loop")
        share, floor = row.get("share_of_copy"), row.get("floor_ms")
        images = row["ms"] * row["images_per_s"] / 1e3 if "images_per_s" in row else None
        targets = [target_of(goal) for goal in row.get("targets", [])]
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


def write(file: str, lines: list[str]) -> None:
    """Replaces what stands between the markers."""
    path = ROOT / file
    before, rest = path.read_text().split(BEGIN)
    path.write_text("\n".join([f"{before}{BEGIN}", *lines, f"{END}{rest.split(END)[1]}"]))


def renew() -> None:
    """The page's tables, and the README's."""
    page = []
    for result in results():
        gpu = "kind" in result
        page += ["", f"## {'On a GPU' if gpu else 'On a CPU'}", "", *(gpu_table if gpu else cpu_table)(result), ""]
        if not gpu:
            write("README.md", cpu_table(result, IN_README))
    write(PAGE, page)


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]), sys.argv[3])
    else:
        renew()
