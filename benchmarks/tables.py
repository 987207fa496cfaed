"""From pytest-benchmark's JSON to results/<machine>.json, and from there to the README and every page that shows rows.

``python benchmarks/tables.py record RAW.json NAME`` keeps what matters of a run; ``... readme`` renews all tables, and
refuses a result that was measured on other kernels than the tree's. A page asks for rows between two lines,
``<!-- rows of cpu: iou_counts -->`` and ``<!-- /rows -->``: of results/cpu.json all whose name the pattern matches.
"""

import datetime
import hashlib
import json
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
#: How often faster than what takes a forward pass per unit.
PER_UNIT = "speed-up over one pass per unit"
#: What a page asks for: which result, and a pattern of the names of its rows; all that stands there until the end.
ASKED = re.compile(r"(<!-- rows of (\w+): (.+?) -->\n).*?(<!-- /rows -->)", re.DOTALL)
#: What rows of a CPU must reach, by the beginning of their names: at most so many times this yardstick.
CPU_GOALS = {
    "iou_counts[512 units 14x14 to 224x224-patches": ("upsample", 0.02),
    "iou_counts[512 units 14x14 to 56x56-patches": ("upsample", 0.02),
    "iou_counts[2048 units 7x7 to 224x224-patches": ("upsample", 0.01),
    "iou_counts[256 units 56x56 to 224x224-patches": ("upsample", 0.08),
    "thresholds_at_pixels": ("upsample", 0.05),
    "threshold_sweep": ("one iou_counts", 10),
    "one_visit_of_features": ("copy", 1.5),
    "ablating_each_unit": ("from the layer on, and segmenting", 1.15),
    "dissect_along_512_directions": ("a dissection from kept maps", 1.3),
    "dissect_conv5_3_of_256_images": ("forward", 1.01),
    "dissect_all_13_convolutions[": ("forward", 1.5),
}
#: What a GPU's targets are of, in words.
GOALS = {
    "images_per_s": "images/s",
    "us_per_image": "us per image",
    "share_of_copy": "share of a copy's",
    "times_iou_counts": "times one iou_counts",
    "times_of_forward": "of the forward loop",
    "times_published": "times the published code",
}
#: What the README shows of the CPU's, and how it says it.
IN_README = {
    "dissect_conv5_3_of_256_images[scenes]": "`dissect.dissect`, conv5_3 of VGG-16, 256 images: all that it finds",
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


def results() -> dict[str, dict]:
    """Every result by its name; a GPU's, which is seldom at hand, may be of earlier kernels, and its table says so.

    Raises:
        SystemExit: a CPU's result is of other kernels.
    """
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
    for result in found.values():
        if "kind" not in result and result["kernels"] != kernels_hash():
            raise SystemExit(
                f"{result['machine']} was measured on other kernels than the tree's; run `make bench` again."
            )
    return found


def days(rows: list[dict]) -> str:
    """When they were measured: the first and the last day."""
    found = sorted(row["day"] for row in rows)
    return " to ".join(dict.fromkeys((found[0], found[-1])))


def cpu_table(result: dict, shown: dict[str, str], goals: bool = True) -> list[str]:
    """Its lines.

    Args:
        result: of a CPU.
        shown: by the names of rows what they are called; the README's, whose other yardsticks are left out.
        goals: with a column of what was to be reached.
    """
    rows = {name: result["rows"][name] for name in shown}
    heads = [
        "workload",
        "ms per image",
        "of its yardstick",
        "faster than eager PyTorch",
        "than the published code",
        "goal",
    ]
    table = []
    for name, row in rows.items():
        yardsticks = [other for other in row["ratio"] if other not in ("eager", "published")]
        shares = [f"{share_of(row['ratio'][other])} ({other})" for other in yardsticks[: None if goals else 1]]
        shares += [f"{count:.3g} {what}" for what, count in row.get("counted", {}).items()]
        speedups = [
            times_of(1 / row["ratio"][other]) if other in row["ratio"] else "" for other in ("eager", "published")
        ]
        if PER_UNIT in row:
            speedups[0] = f"{row[PER_UNIT]:.3g}x (one pass per unit)"
        ms = row["ms_per_image"]["ours"]
        cells = [shown[name], f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}", ", ".join(shares), *speedups]
        table.append([*cells, goal_of(name, row) if goals else ""])
    return [
        f"{result['machine']}, {result['threads']} threads, torch {result['torch']}, measured "
        f"{days(list(rows.values()))}; medians of paired runs.",
        "",
        *filled_columns(heads, table),
    ]


def filled_columns(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A table's lines, without the columns in which nothing stands; numbers to the right."""
    kept = [at for at in range(len(heads)) if any(row[at] for row in rows)]
    number = [
        "---:" if all(not row[at] or re.fullmatch(r"[\d.,e+%]+", row[at]) for row in rows) else "---" for at in kept
    ]
    lines = [[heads[at] for at in kept], *([row[at] for at in kept] for row in rows)]
    first, *rest = ["| " + " | ".join(cells) + " |" for cells in lines]
    return [first, "|" + "|".join(number) + "|", *rest]


def goal_of(name: str, row: dict) -> str:
    """What the row was to reach, and whether it did."""
    for begin, (yardstick, bound) in CPU_GOALS.items():
        if name.startswith(begin):
            met = "met" if row["ratio"][yardstick] <= bound else "missed"
            return f"{f'{bound:g} times' if bound >= 1 else f'{100 * bound:g}%'} ({yardstick}): {met}"
    return ""


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


def gpu_table(result: dict, shown: dict[str, str]) -> list[str]:
    """Its lines, of the rows that are shown."""
    earlier = result["kernels"] != kernels_hash("gpu")
    since = f" It was commit {result['commit'][:7]}; the kernels have changed since." if earlier else ""
    heads = [
        "workload",
        "us per image",
        "floor",
        "images/s",
        "GB/s that must move",
        "of a copy's",
        "target",
        "faster than",
    ]
    table = []
    for name in shown:
        row = result["rows"][name]
        others = [f"{times:,.1f}x ({other})" for other, times in row.get("faster", {}).items()]
        if "times_of_forward" in row:
            others.append(f"takes {row['times_of_forward']:.2f} of the bare forward loop")
        share, floor = row.get("share_of_copy"), row.get("floor_ms")
        images = row["ms"] * row["images_per_s"] / 1e3 if "images_per_s" in row else None
        cells = [
            name,
            f"{row['us_per_image']:.3g}" if "us_per_image" in row else "",
            f"{1e3 * floor / images:.3g}" if floor and images else "",
            f"{row['images_per_s']:,.0f}" if "images_per_s" in row else "",
            f"{row['gb_per_s']:,.0f}" if "gb_per_s" in row else "",
            "" if share is None else f"{share:.0%}",
            ", ".join(target_of(goal) for goal in row.get("targets", [])),
            ", ".join(others),
        ]
        table.append(cells)
    return [
        f"{result['machine']}, torch {result['torch']}, CUDA {result['cuda']}, measured {result['day']}; medians of "
        f"CUDA events, bfloat16.{since}",
        "",
        *filled_columns(heads, table),
    ]


def asked(results: dict[str, dict], machine: str, pattern: str) -> list[str]:
    """The lines of the rows that a page asks for by a regular expression, or the README's by "three".

    Raises:
        SystemExit: no row has such a name.
    """
    result = results[machine]
    if pattern == "three":
        return cpu_table(result, IN_README, goals=False)
    found = {name: name for name in result["rows"] if re.search(pattern, name)}
    if not found:
        raise SystemExit(f"no row of {machine} is called {pattern!r}; it has {', '.join(result['rows'])}.")
    return gpu_table(result, found) if "kind" in result else cpu_table(result, found)


def renewed(results: dict[str, dict]) -> dict[Path, str]:
    """By file what the README and each page that asks for rows should be."""

    def filled(match: re.Match[str]) -> str:
        begin, machine, pattern, end = match.groups()
        return "\n".join([begin, *asked(results, machine, pattern), "", end])

    texts = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
    return {path: ASKED.sub(filled, text) for path, text in texts.items() if ASKED.search(text)}


if __name__ == "__main__":
    if sys.argv[1] == "record":
        record(Path(sys.argv[2]), sys.argv[3])
    else:
        for file, text in renewed(results()).items():
            file.write_text(text, encoding="utf-8")
