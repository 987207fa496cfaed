"""What the README and pages show of benchmarks is what results hold."""

import json

import pytest
import tables

ROW = {"day": "2026-01-02", "ms_per_image": {"ours": 12.0}, "ratio": {"upsample": 0.05, "eager": 0.01}}
RESULT = {"machine": "A", "threads": 2, "torch": "2", "rows": {"thresholds_at_pixels": ROW, "another": ROW}}


def test_pages_are_of_the_results():
    """Whoever records new ones writes the pages anew: `python benchmarks/tables.py readme`."""
    results = {path.stem: json.loads(path.read_text()) for path in tables.RESULTS.glob("*.json")}
    renewed = tables.renewed(results)
    assert {"README.md", "benchmarks.md", "cpu.md", "hot_cells.md", "kernels_cuda.md"} <= {
        path.name for path in renewed
    }
    for path, text in renewed.items():
        assert path.read_text(encoding="utf-8") == text, path


def test_a_table_of_rows():
    *_, heads, line, first, second = tables.asked({"cpu": RESULT}, "cpu", ".")
    assert heads == "| workload | ms per image | of its yardstick | faster than eager PyTorch | goal |"
    assert line == "|---|---:|---|---|---|"
    assert first == "| thresholds_at_pixels | 12 | 5.0% (upsample) | 100x | 5% (upsample): met |"
    assert second == "| another | 12 | 5.0% (upsample) | 100x |  |"
    slower = {"thresholds_at_pixels": ROW | {"ratio": {"upsample": 0.0501}, "counted": {"passes": 1.5}}}
    assert tables.asked({"cpu": RESULT | {"rows": slower}}, "cpu", "^thresholds")[-1] == (
        "| thresholds_at_pixels | 12 | 5.0% (upsample), 1.5 passes | 5% (upsample): missed |"
    )


def test_a_row_that_nobody_measured_is_named():
    with pytest.raises(
        SystemExit, match="no row of cpu is called '\\^thresholds_at_cells'; it has thresholds_at_pixels"
    ):
        tables.asked({"cpu": RESULT}, "cpu", "^thresholds_at_cells")
