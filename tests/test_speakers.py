"""A message begins with the name of the function that was called, and with no other."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import dissect
from dissect import apps, data, dissection, interventions
from dissect.arguments import integer, refusal, speaks
from dissect.experiments import CarliniWagner, adversarial, attack, biases, peak_correlation
from dissect.models import ProGAN, load_progan, load_stylegan2, load_wgangp
from dissect.segmentation import Segmenter


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


IMAGES = [(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 0, 1]))]
PLANES = [(torch.rand(4, 3, 8, 8), torch.zeros(4, 1, 8, 8, dtype=torch.int64))]

#: By name: a call with a layer, and options that all such functions take.
CALLS = {
    "dissect": lambda layer, **options: dissect.dissect(network(), layer, PLANES, **options),
    "unit_importance": lambda layer, **options: dissect.unit_importance(network(), layer, IMAGES, IMAGES, **options),
    "peak_correlation": lambda layer, **options: peak_correlation(network(), layer, IMAGES, **options),
    "attack": lambda layer, **options: attack(network(), layer, IMAGES, **options),
    "Trace": lambda layer, **options: dissect.Trace(network(), layer, **options),
    "ablate": lambda layer, **options: dissect.ablate(network(), layer, [0], **options),
    "keep": lambda layer, **options: dissect.keep(network(), layer, [0], **options),
    "insert": lambda layer, **options: dissect.insert(network(), layer, [0], value=1.0, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_layer_that_is_none(name):
    with pytest.raises(KeyError, match=rf"^.{name}: the model has no layer 'nope'"):
        CALLS[name]("nope")


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "peak_correlation", "attack"])
def test_a_batch_size_of_nothing(name):
    with pytest.raises(ValueError, match=rf"^{name}: batch_size must be at least 1, but got 0"):
        CALLS[name]("0", batch_size=0)


@pytest.mark.parametrize("name", ["dissect", "unit_importance"])
def test_less_than_no_memory(name):
    with pytest.raises(ValueError, match=rf"^{name}: memory_budget must be a number of bytes, 0 or more, but is -1"):
        CALLS[name]("0", memory_budget=-1)


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "peak_correlation", "attack"])
def test_a_batch_size_that_is_no_number(name):
    with pytest.raises(TypeError, match=rf"^{name}: batch_size must be an integer, but got 'a'"):
        CALLS[name]("0", batch_size="a")


def test_the_outermost_speaks_and_others_errors_keep_their_words():
    @speaks
    def outer():
        return integer("k", 0)

    @speaks
    def broken():
        raise ValueError("of the user's model")

    with pytest.raises(ValueError, match=r"^test_the_outermost_speaks_and_others_errors_keep_their_words: k must be"):
        outer()
    with pytest.raises(ValueError, match=r"^of the user's model$"):
        broken()
    assert str(refusal(ValueError("must be finite."), "layer '0'")) == "layer '0': must be finite."


def test_warnings_name_the_line_that_called():
    with pytest.warns(UserWarning, match="training mode") as told:
        dissect.dissect(network().train().append(nn.Dropout()), "0", PLANES, progress=False)
    one_class = [(images, classes * 0) for images, classes in IMAGES]
    with pytest.warns(UserWarning, match="1 classes have no") as more:
        dissect.unit_importance(network(), "0", one_class, one_class, progress=False)
    assert {warning.filename for warning in [*told, *more]} == {__file__}


@pytest.mark.parametrize(("name", "edit"), [("ablate", dissect.ablate), ("keep", dissect.keep)])
def test_what_the_pass_tells_is_said_by_what_opened_the_block(name, edit):
    model = network()
    for options, message in (
        ({"units": [9]}, "units of layer '0' must be below 4, but one is 9"),
        ({"units": [1], "alpha": torch.ones(9)}, "alpha must be a number or one per unit, "),
    ):
        with edit(model, "0", **options), pytest.raises(ValueError, match=f"^{name}: {message}"):
            model(torch.rand(2, 3, 8, 8))


def test_an_edit_within_a_function_that_speaks_is_its_own():
    @speaks
    def outer():
        model = network()
        with dissect.insert(model, "0", [9], value=1.0):
            model(torch.rand(2, 3, 8, 8))

    with pytest.raises(ValueError, match=r"^test_an_edit_within_a_function_that_speaks_is_its_own: units of layer"):
        outer()


def test_wrong_values_are_said_by_what_was_called():
    with pytest.raises(ValueError, match=r"^ablate: alpha must lie in \[0, 1\], but is 2"):
        dissect.ablate(network(), "0", [0], alpha=2)
    with pytest.raises(TypeError, match=r"^keep: layer must be a name with units beside it"):
        dissect.keep(network(), "0")


@pytest.mark.parametrize("load", [load_progan, load_stylegan2, load_wgangp])
def test_loaders(load, tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"^{load.__name__}: there is no file "):
        load(tmp_path / "none.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=rf"^{load.__name__}: .*a\.pt must hold a "):
        load(tmp_path / "a.pt")
    torch.save(ProGAN((4, 4), z_channels=2).state_dict(), path := tmp_path / "progan.pt")
    with pytest.raises(ValueError, match=rf"^{load.__name__}: .*progan\.pt must hold a "):
        load(path, resolution=64)


def test_segmenters():
    concepts = dissect.Concepts.of(["car", "tree"])
    segmenter = Segmenter(nn.Conv2d(3, 3, 1), concepts, [[0, 1, 2]])
    with pytest.raises(KeyError, match=r"^.Segmenter: concept must be in \[1, 3\), but got 3"):
        segmenter.scores(torch.rand(1, 3, 4, 4), 3)
    with pytest.raises(ValueError, match=r"^Segmenter: groups must hold"):
        Segmenter(nn.Conv2d(3, 3, 1), concepts, [])
    wrong = Segmenter(nn.Conv2d(3, 5, 1), concepts, [[0, 1, 2]])
    with pytest.raises(ValueError, match=r"^Segmenter: network must give \[N, 3, H, W\]"):
        wrong(torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match=r"^dissect: network must give \[N, 3, H, W\]"):
        dissect.dissect(network(), "0", [torch.rand(1, 3, 8, 8)], segmenter=wrong, progress=False)


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "attack"])
def test_a_folder_of_another_run(name, tmp_path):
    if name == "attack":
        pytest.importorskip("foolbox")
    data = PLANES if name == "dissect" else IMAGES
    images = torch.utils.data.TensorDataset(*data[0])
    functions = {
        "dissect": lambda **more: dissect.dissect(network(), "0", images, **more),
        "unit_importance": lambda **more: dissect.unit_importance(network(), "0", images, images, **more),
        "attack": lambda **more: attack(network(), "0", images, settings=CarliniWagner(1, 1), **more),
    }
    functions[name](resume=tmp_path, progress=False)
    with pytest.raises(ValueError, match=rf"^{name}: resume must name a folder whose run had the same "):
        functions[name](resume=tmp_path, progress=False)


@pytest.mark.parametrize("name", ["dissect", "unit_importance", "attack", "peak_correlation", "adversarial"])
def test_data_sets(name):
    if name in ("attack", "adversarial"):
        pytest.importorskip("foolbox")
    calls = {
        "dissect": lambda images: dissect.dissect(network(), "0", images, progress=False),
        "unit_importance": lambda images: dissect.unit_importance(network(), "0", images, images, progress=False),
        "attack": lambda images: attack(network(), "0", images, progress=False),
        "peak_correlation": lambda images: peak_correlation(network(), "0", images, progress=False),
        "adversarial": lambda _: adversarial(network(), torch.full((1, 3, 8, 8), 2.0), torch.tensor([0])),
    }
    with pytest.raises(ValueError, match=rf"^{name}: (\w+ )?images"):
        calls[name]([])


def test_comparisons_and_biases():
    with pytest.raises(ValueError, match=r"^compare: dissections must hold at least one"):
        dissect.compare([])
    with pytest.raises(ValueError, match=r"^LayerMaps: images must be"):
        biases.LayerMaps(network(), ["0"], [torch.rand(2, 3, 8, 8)], dissect.Concepts.of(["car"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"segment": "nope"}, "segment must be one of"),
        ({"tokens": "a"}, "tokens must be the"),
        ({"preset": "nope"}, "preset must be one of"),
    ],
)
def test_what_runs_over_activations_ask_for(options, message):
    for function in (dissect.dissect, dissect.sweep):
        with pytest.raises((TypeError, ValueError), match=f"^{function.__name__}: {message}"):
            function(network(), "0", PLANES, progress=False, **options)


ROOT = Path(dissect.__file__).parent

#: Where a message still begins with a name of its own.
TYPED = {
    "ops": "torch's dispatcher calls them too; who calls an op from within the package says its name in the op's place",
    "grid.py": "Grid.check says the op that it is given",
    "reference": "the specification imports torch alone",
    "models": "the name of a file stands in front, not that of a function",
}


@cache
def nodes(text):
    """All nodes of a file that raise, or call something."""
    return [part for part in ast.walk(ast.parse(text)) if isinstance(part, (ast.Raise, ast.Call))]


def said_by_hand(path):
    """Lines whose error or warning begins with "name: " or "{name}: "."""
    for call in nodes(path.read_text()):
        if not (isinstance(call, ast.Call) and call.args):
            continue
        called = ast.unparse(call.func).rpartition(".")[2]
        if called in ("warn", "tell") or called.endswith(("Error", "Exception")):
            parts = call.args[0].values if isinstance(call.args[0], ast.JoinedStr) else [call.args[0]]
            texts = [part.value if isinstance(part, ast.Constant) else "{name}" for part in parts]
            if re.match(r"(\{name\}|[A-Za-z_][\w.]*): ", "".join(map(str, texts))):
                yield f"{path.relative_to(ROOT)}:{call.lineno}"


def test_no_message_types_a_speaker():
    told = [line for path in sorted(ROOT.rglob("*.py")) for line in said_by_hand(path)]
    assert [line for line in told if not line.startswith(tuple(TYPED))] == []
    assert all(any(line.startswith(room) for line in told) for room in TYPED), "a room in TYPED needs no row any more"


#: Where an error that a `raise` spells out is no refusal of what was given to a function.
UNSAID = {
    **TYPED,
    "files": "the file stands in front",
    "data/broden.py": "the file stands in front",
    "data/files.py": "the file stands in front",
    "data/folders.py": "the file stands in front",
    "generators/artifact_flags.py": "the file stands in front",
    "rewriting/session.py": "the file stands in front",
    "apps/session.py": "the file stands in front, or the request",
    "apps/strokes.py": "the file stands in front, or the request",
    "apps/published.py": "what was asked for stands in front",
    "report/sheets.py": "the file stands in front",
    "omissions/inverter.py": "the file stands in front",
    "omissions/training.py": "the file stands in front",
    "stats/state.py": "the file stands in front",
    "tiny": "the file stands in front, or the loss",
    "dissection/unit_classifiers.py": "of a run's own file",
    "network/hooks.py": "pickle calls what raises it",
    "network/graph.py": "of the user's own model",
    "network/trace.py": "of the user's own model",
    "classifiers/probe.py": "of a run's own steps",
}


def said_by_nobody(path):
    """Lines that raise a TypeError, ValueError or KeyError with a text, and not as a refusal."""
    for part in nodes(path.read_text()):
        error = part.exc if isinstance(part, ast.Raise) else None
        if isinstance(error, ast.Call) and ast.unparse(error.func) in ("TypeError", "ValueError", "KeyError"):
            yield f"{path.relative_to(ROOT)}:{part.lineno}"


def test_every_refusal_has_a_speaker():
    found = [line for path in sorted(ROOT.rglob("*.py")) for line in said_by_nobody(path)]
    assert [line for line in found if not line.startswith(tuple(UNSAID))] == []


#: Rooms whose functions all speak.
SPEAKING = (dissect, dissect.classifiers, dissect.generators, dissect.experiments, biases, dissect.omissions,
            dissect.rewriting, apps, dissection, interventions, dissect.segmentation, data)  # fmt: skip


def test_public_functions_speak():
    functions = {
        f"{room.__name__}.{name}": getattr(room, name)
        for room in SPEAKING
        for name in room.__all__
        if inspect.isfunction(getattr(room, name))
    }
    silent = {name for name, function in functions.items() if function.__code__.co_name != "speaking"}
    assert silent == {"dissect.load", "dissect.generators.read_flags"}  # in front of whose texts stands the file
    assert len(functions) > 60


def test_concepts_layers_and_evaluation_mode():
    d = dissect.dissect(network(), "0", PLANES, concepts=["car"], progress=False)
    training, importance = network().train(), dissect.unit_importance(network(), "0", IMAGES, IMAGES, progress=False)
    calls = {
        "Concepts": lambda: dissect.Concepts.of(["car"]).number("tree"),
        "Dissection": lambda: d["nothing"],
        "Sweep": lambda: dissect.sweep(network(), "0", PLANES, concepts=["car"], progress=False)["nothing"],
        "class_iou": lambda: dissect.generators.class_iou(d, "0", "tree"),
        "unit_importance": lambda: dissect.unit_importance(training, "0", IMAGES, IMAGES, progress=False),
        "peak_correlation": lambda: peak_correlation(training, "0", IMAGES),
        "changed_images": lambda: dissect.rewriting.changed_images(training, IMAGES[0][0]),
        "important_pairs": lambda: dissect.experiments.important_pairs(importance, 9),
        "ablate": lambda: dissect.ablate(network(), "0", [0, 0]),
        "Batches": lambda: dissect.data.Batches("a folder"),
        "one_vs_rest_auc": lambda: dissect.classifiers.one_vs_rest_auc(torch.rand(2), torch.tensor([0, 1])),
    }
    for name, call in calls.items():
        with pytest.raises((KeyError, TypeError, ValueError), match=f"^['\"]?{name}: "):
            call()


def test_a_typed_speaker_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "room.py").write_text('raise refusal(ValueError(f"Grid: {given}."))\nwarnings.warn(f"{who}: no.")\n')
    assert sorted(said_by_hand(tmp_path / "room.py")) == ["room.py:1", "room.py:2"]
    (tmp_path / "room.py").write_text('raise ValueError(f"k must be {k}.")\nraise refusal(ValueError("k must be."))\n')
    assert [*said_by_nobody(tmp_path / "room.py")] == ["room.py:1"]


def test_a_class_says_its_own_name_and_others_theirs(tmp_path):
    calls = {
        "Concepts": lambda: dissect.Concepts(("-",), ()),
        "Grid": lambda: dissect.Grid.half_pixel((1, 1), (0, 1)),
        "ImageFolder": lambda: dissect.data.ImageFolder(tmp_path / "none"),
        "ProGAN": lambda: ProGAN((4,), z_channels=2)(torch.rand(1, 3)),
        "frechet_distance": lambda: dissect.stats.frechet_distance(torch.rand(1, 2), torch.rand(3, 2)),
        "FrechetReference": lambda: dissect.stats.FrechetReference(torch.rand(1, 2)),
        "Peaks": lambda: dissect.stats.Peaks(0),
        "dissect": lambda: dissect.dissect(network(), "0", PLANES, concepts="car", progress=False),
    }
    for name, call in calls.items():
        with pytest.raises((TypeError, ValueError, FileNotFoundError), match=f"^{name}: "):
            call()
    with pytest.raises(TypeError, match=r"^dissect: concepts must be a list of the names of the labels"):
        calls["dissect"]()


def test_a_picture_that_cannot_be_read_is_said_by_what_was_called(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    folder = dissect.data.ImageFolder(tmp_path, size=8)
    with pytest.raises(ValueError, match=r"^ImageFolder: .*a\.png cannot be read"):
        folder[0]
    segmenter = dissect.tiny.segmenter()
    with pytest.raises(ValueError, match=r"^dissect: .*a\.png cannot be read"):
        dissect.dissect(network(), "0", folder, segmenter=segmenter, progress=False)


def test_an_error_of_the_users_own_code_between_is_said_by_what_that_code_called():
    def labels(images):
        return dissect.Concepts.of("car")

    with pytest.raises(TypeError, match=r"^Concepts: concepts must be a list"):
        dissect.dissect(network(), "0", [torch.rand(1, 3, 8, 8)], segmenter=labels, concepts=["car"], progress=False)


def test_a_warning_is_said_once_by_what_was_called():
    with pytest.warns(UserWarning, match=r"^Concepts: concepts begin with label 1") as told:
        dissect.Concepts.of(["background", "car"])
    assert told[0].filename == __file__
    with pytest.warns(UserWarning, match=r"^dissect: concepts begin with label 1"):
        dissect.dissect(network(), "0", PLANES, concepts=["background", "car"], progress=False)


def test_an_ops_own_name_gives_way_to_what_was_called():
    wrong = [(torch.full((2, 3, 8, 8), float("nan")), torch.zeros(2, 1, 8, 8, dtype=torch.int64))]
    with pytest.raises(ValueError, match=r"^dissect: layer '0': batch 0 of visit 0: activations must be finite"):
        dissect.dissect(network(), "0", wrong, progress=False)
    with pytest.raises(ValueError, match=r"^TailThreshold: batch 0 of visit 0: activations must have shape"):
        dissect.stats.TailThreshold(0.1, size=(8, 8)).add(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"^image_peaks: activations must have shape"):
        dissect.ops.image_peaks(torch.rand(2, 3))


def test_an_op_that_the_users_own_code_calls_keeps_its_name():
    class Module(nn.Module):
        def forward(self, images):
            return dissect.ops.image_peaks(images[0, 0])

    with pytest.raises(ValueError, match=r"^image_peaks: activations must have shape"):
        dissect.dissect(nn.Sequential(Module()).eval(), "0", PLANES, progress=False)
