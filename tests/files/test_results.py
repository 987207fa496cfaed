"""Results as files: any kind is read by its header, and none is taken for another."""

import shutil
import sys
from pathlib import Path

import pytest

import dissect
from dissect.cli import commands as cli
from dissect.experiments import (
    AblatedBands,
    AttackResult,
    AxisAlignment,
    Discrimination,
    Explanations,
    PlantedScores,
    RetrainedTops,
    Rosetta,
    TextureSensitivity,
    VerifiedLabels,
)
from dissect.files.results import KINDS, Result, load_any
from dissect.files.tensors import load_tensors, save_tensors
from dissect.rewriting import Edit, SecondMoment
from dissect.stats import Peaks

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {
    dissect.Dissection: "dissection-1.dissection",
    dissect.UnitFormulas: "formulas-4.formulas",
    dissect.UnitImportance: "importance-1.importance",
    dissect.UnitSets: "sets-1.sets",
    AblatedBands: "bands-1.bands",
    AttackResult: "attack-1.attack",
    AxisAlignment: "alignment-1.alignment",
    Discrimination: "discrimination-1.discrimination",
    TextureSensitivity: "texture-1.texture",
    PlantedScores: "planted-1.planted",
    Explanations: "explanations-1.explanations",
    RetrainedTops: "tops-1.tops",
    Rosetta: "rosetta-2.rosetta",
    VerifiedLabels: "verified-1.verified",
    dissect.generators.Effect: "effect-1.effect",
    dissect.Comparison: "comparison-1.comparison",
    dissect.generators.CausalUnits: "causal-1.causal",
    dissect.generators.RemovalCurves: "curves-1.curves",
    dissect.generators.InsertionContext: "context-1.context",
    dissect.generators.EffectTrace: "trace-1.trace",
    dissect.UnitSheet: "sheet-1.sheet",
    dissect.UnitClassifiers: "classifiers-1.classifiers",
    dissect.Sweep: "sweep-1.sweep",
    dissect.omissions.LayerInverter: "inverter-1.inverter",
    dissect.omissions.Inversion: "inversion-1.inversion",
    dissect.omissions.OmissionPairs: "pairs-1.pairs",
    dissect.generators.ArtifactUnits: "artifacts-1.artifacts",
    dissect.generators.ArtifactRepair: "repair-1.repair",
    SecondMoment: "moment-1.moment",
    Edit: "edit-1.edit",
    dissect.omissions.SegmentationStatistics: "segstats-1.segstats",
}


def kinds():
    """The library's own: those of examples in docstrings are in no module."""
    return [kind for kind in KINDS.values() if hasattr(sys.modules.get(kind.__module__), kind.__name__)
            and kind.__module__.startswith("dissect.")]  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_any_kind_is_loaded_and_saved_again(kind, tmp_path):
    assert set(FILES) == set(kinds())
    path = GOLDEN / FILES[kind]
    for given in (path, str(path), path.with_suffix("")):
        found = dissect.load(given)
        assert type(found) is kind
    again = found.save(tmp_path / "x.y")
    assert again.name == f"x.y{kind.suffix}"
    assert again.read_bytes() == dissect.load(again).save(tmp_path / "z").read_bytes()
    (tensors, meta), (own, own_meta) = (load_tensors(file, kind.kind, kind.version) for file in (again, path))
    assert meta.items() >= own_meta.items()
    assert all(tensors[name].numpy().tobytes() == own[name].numpy().tobytes() for name in own)  # NaN and all
    shutil.copy(path, tmp_path / "renamed")
    assert type(dissect.load(tmp_path / "renamed")) is kind


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("other", FILES)
def test_another_kind_is_refused_by_name(kind, other):
    if kind is not other:
        with pytest.raises(ValueError, match=f"{FILES[other]} must hold a {kind.kind}, but holds {other.kind}"):
            kind.load(GOLDEN / FILES[other])


def test_what_is_no_result_is_refused(tmp_path):
    kinds = r"a result \(.*dissection.*\)"
    with pytest.raises(ValueError, match=f"must hold {kinds}, but holds Peaks"):
        dissect.load(Peaks(1).save(tmp_path / "peaks"))
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="text is damaged or no safetensors file"):
        dissect.load(tmp_path / "text")
    for kind in FILES:
        path = save_tensors(tmp_path / "new", kind.kind, kind.version + 1, {}, {})
        with pytest.raises(
            ValueError, match=rf"of version {kind.version + 1}, newer than the {kind.version} known here"
        ):
            dissect.load(path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none, nor one with .*: .*\.attack, .*\.sets"):
        dissect.load(tmp_path / "none")
    with pytest.raises(ValueError, match=r"path must name a file, but is '\.'"):
        Peaks(1).save("")


def test_a_name_of_several_files(tmp_path):
    for suffix in (".importance", ".sets", ".dissection"):
        shutil.copy(next(GOLDEN.glob(f"*{suffix}")), tmp_path / f"result{suffix}")
    assert isinstance(dissect.load(tmp_path / "result"), dissect.Dissection)  # as before there were others
    (tmp_path / "result.dissection").unlink()
    with pytest.raises(ValueError, match=r"must name one file, but there are .*result\.importance, .*result\.sets"):
        dissect.load(tmp_path / "result")


def test_a_class_that_is_imported_is_known(tmp_path):
    class Found(Result):
        kind, suffix = "found", ".found"

        def contents(self):
            return {}, {"answer": 42}

        @classmethod
        def from_contents(cls, what, tensors, meta):
            if meta != {"answer": 42}:
                raise ValueError("not the answer")
            return cls()

    try:
        assert type(load_any(Found().save(tmp_path / "a"), dissect.Dissection)) is Found
        save_tensors(tmp_path / "b.found", "found", 1, {}, {})
        with pytest.raises(ValueError, match=r"b\.found holds what cannot be: not the answer"):
            dissect.load(tmp_path / "b")
    finally:
        del KINDS["found"]


def test_commands_say_which_kind_they_were_given(capsys, tmp_path):
    given, wanted = (str(GOLDEN / FILES[kind]) for kind in (dissect.UnitImportance, dissect.Dissection))
    out = ["--out", str(tmp_path)]
    assert cli.main(["report", given, *out]) == 2
    assert f"{given} must hold a dissection, but holds importance" in capsys.readouterr().err
    assert cli.main(["report", wanted, "--importance", wanted, *out]) == 2
    assert f"{wanted} must hold a importance, but holds dissection" in capsys.readouterr().err
