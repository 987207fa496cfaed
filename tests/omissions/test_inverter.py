"""Encoders of a generator's layers: how they are composed, trained, saved, loaded, and what is refused."""

import copy
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

import dissect
from dissect.models import WGANGP, ProGAN, StyleGAN2
from dissect.omissions import LayerInverter, training
from dissect.omissions.chain import Chain
from dissect.omissions.encoders import Encoder

LAYERS = ["layer1", "layer2", "layer3"]
QUICK = {"width": 2, "epochs": 1, "batches": 3, "batch_size": 4, "rate": 1e-3, "progress": False}


@pytest.fixture(scope="module")
def model():
    return ProGAN((6, 6, 4), z_channels=8, seed=3).eval()


@pytest.fixture(scope="module")
def inverter(model):
    return LayerInverter.train(model, LAYERS, **QUICK)


def same(one, other):
    states = one.encoder.state_dict(), other.encoder.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )


@pytest.mark.parametrize("build", [lambda: ProGAN((6, 4), z_channels=8), lambda: WGANGP((8, 4), z_channels=4)])
def test_the_chain_makes_the_generators_images(build):
    model = build().eval()
    chain, z = Chain(model, ["layer1"]), dissect.latents(model, 5)
    early = chain.layers_of(z)
    assert torch.allclose(chain.render(early[-1]), model(z), atol=1e-5)
    with dissect.Trace(model, "layer1") as trace:
        model(z)
    assert torch.allclose(early[1], trace["layer1"], atol=1e-5)
    assert chain.shapes == [(model.z_channels,), tuple(early[1].shape[1:])]
    assert all(weight.requires_grad for weight in model.parameters())


class Doubled(ProGAN):
    """Its children run one after the other, but that is not all."""

    def forward(self, z):
        return 2 * super().forward(z)


@pytest.fixture(scope="module")
def style():
    """A StyleGAN2 whose noise, truncation and images so far all count."""
    model = StyleGAN2((8, 8, 6), 5, mapping_layers=2, truncation=0.7, seed=2).eval()
    model.measure_latent_avg(64)
    for name, weight in model.named_parameters():
        if name.endswith(("noise.weight", "bias")):
            weight.data.normal_(generator=torch.Generator().manual_seed(len(name)))
    return model


def test_a_stylegan2_is_a_chain_that_hands_on_its_image_and_w(style):
    chain, z = Chain(style, ["layer2", "layer3", "layer4"]), dissect.latents(style, 3)
    assert chain.shapes == [(5,), (8 + 3 + 5, 4, 4), (16, 8, 8), (16, 8, 8)]
    early = chain.layers_of(z)
    with dissect.Trace(style, ["layer2", "to_rgb1", "layer3", "to_rgb2"]) as trace:
        images = style(z)
    assert torch.allclose(chain.render(early[-1]), images, atol=1e-4)
    assert torch.allclose(early[1][:, :11], torch.cat([trace["layer2"], trace["to_rgb1"]], 1), atol=1e-4)
    assert torch.allclose(early[2][:, :8], trace["layer3"], atol=1e-4)
    assert torch.allclose(early[3][:, 8:11], trace["to_rgb2"], atol=1e-4)
    w = style.truncate(style.mapping(z), 0.7)
    assert torch.allclose(early[3][:, 11:], w[:, :, None, None].expand(-1, -1, 8, 8), atol=1e-5)
    assert Chain(style, ["layer1", "layer6"]).shapes[-1] == (6 + 3 + 5, 16, 16)
    # What is added to w after layer3 is seen by layer4 and all that follows.
    half = torch.zeros(3, 16, 8, 8).index_fill(1, torch.arange(11, 16), 0.5)
    moved = chain.layers_of(z, [torch.zeros(3, 16, 4, 4), half])
    each = torch.stack([w, w, *[w + 0.5] * 4], 1)
    assert torch.allclose(chain.render(moved[-1]), style(each, latent="w", truncation=1), atol=1e-4)


def test_a_stylegan2_is_inverted(style):
    inverter = LayerInverter.train(style, ["layer2", "layer3"], **{**QUICK, "batches": 1})
    images = style(dissect.latents(style, 2)).detach()
    plain, found = (inverter.invert(images, method, steps=8, rate=0.05, progress=False) for method in "df")
    assert (found.losses < 0.95 * plain.losses).all(), (plain.losses, found.losses)
    with pytest.raises(ValueError, match="begin with one that gives maps"):
        LayerInverter.train(style, ["mapping", "layer2"], **QUICK)
    with pytest.raises(KeyError, match="to_rgb1"):
        LayerInverter.train(style, ["to_rgb1"], **QUICK)
    unknown = StyleGAN2((8, 8), 5, mapping_layers=2, truncation=0.7).eval()
    with pytest.raises(ValueError, match="truncation below 1 needs latent_avg"):
        LayerInverter.train(unknown, ["layer2"], **QUICK)


def test_a_delta_is_added_after_its_layer(model):
    chain, z = Chain(model, LAYERS), dissect.latents(model, 2)
    delta = torch.ones(2, *chain.shapes[1])
    plain, moved = chain.layers_of(z), chain.layers_of(z, [delta])
    assert torch.equal(moved[1], plain[1] + 1)
    assert torch.equal(moved[2], chain.stage(2, plain[1] + 1))


def test_what_is_no_chain_is_refused(model):
    two = nn.Sequential(OrderedDict(a=nn.Linear(4, 4), b=nn.Unflatten(1, (1, 2, 2)))).eval()
    with pytest.raises(ValueError, match="not the last, but are"):
        LayerInverter.train(two, ["b"])
    with pytest.raises(KeyError, match="has no layer 'layer9'"):
        LayerInverter.train(model, ["layer9"])
    with pytest.raises(ValueError, match="LayerInverter: layers must be children of the generator in their order"):
        LayerInverter.train(model, ["layer2", "layer1"])
    with pytest.raises(ValueError, match="must be children"):
        LayerInverter.train(model, ["layer1.conv"])
    with pytest.raises(ValueError, match=r"must be a chain, .* but Doubled is not"):
        LayerInverter.train(Doubled((6, 4), z_channels=8).eval(), ["layer1"])
    with pytest.raises(ValueError, match="evaluation mode"):
        LayerInverter.train(copy.deepcopy(model).train(), LAYERS)


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"loss": "l2"}, ValueError, "loss must be one of"),
    ({"epochs": 0}, ValueError, "epochs must be at least 1"),
    ({"batch_size": 1.5}, TypeError, "batch_size must be an integer"),
    ({"rate": float("nan")}, ValueError, "rate must be a positive number"),
    ({"image_rate": 0}, ValueError, "image_rate must be a positive number"),
])  # fmt: skip
def test_bad_options(model, options, error, text):
    with pytest.raises(error, match=f"LayerInverter: {text}"):
        LayerInverter.train(model, LAYERS, **{**QUICK, **options})


def test_a_loss_that_is_not_finite(model):
    broken = copy.deepcopy(model)
    broken.layer1.conv.weight.data.fill_(torch.inf)
    with pytest.raises(ValueError, match=r"chain|finite"):
        LayerInverter.train(broken, LAYERS, **QUICK)
    with pytest.raises(ValueError, match=r"LayerInverter: the loss of e_\w must be finite, but is .* smaller rate"):
        LayerInverter.train(model, LAYERS, **{**QUICK, "rate": 1e30})


def test_losses_by_hand():
    one, other = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])
    assert training.cse(one, other).item() == pytest.approx(0.5)  # the same direction, and a right angle
    assert training.l1(one, other).item() == pytest.approx(5 / 4)


def test_rates_by_hand(model):
    chain = Chain(model, LAYERS)
    encoder = Encoder(chain.shapes, chain.image_shape, 2)
    stages = training.layer_stages(chain, encoder, "cse", 10, 10, 1.0, 0.5)
    assert [stage.name for stage in stages] == ["e_1", "e_2", "e_3", "e_f"]
    rates = [[round(stage.rate_at(step), 6) for step in (0, 2, 6, 8)] for stage in stages]
    assert rates == [[1, 0.1, 0.01, 0.01], [1, 1, 0.1, 0.01], [1, 1, 0.1, 0.01], [0.5, 0.5, 0.5, 0.5]]


def test_a_layer_is_learned(model):
    before = LayerInverter.untrained(model, LAYERS, width=2)
    trained = LayerInverter.train(model, LAYERS, **{**QUICK, "batches": 40, "batch_size": 16, "rate": 0.01})
    losses = {line["stage"]: line["loss"] for line in trained.log}  # the last of each
    first = {line["stage"]: line["loss"] for line in reversed(trained.log)}
    assert all(losses[stage] < 0.9 * first[stage] for stage in losses), (first, losses)
    changed = [not torch.equal(*pair) for pair in zip(before.encoder.parameters(), trained.encoder.parameters())]
    assert all(changed)


def test_joint_training_leaves_the_last_convolutions(inverter):
    tuned = inverter.fine_tune(epochs=1, batches=3, batch_size=4, rate=1e-3, progress=False)
    kept = {name for (name, one), other in zip(inverter.encoder.named_parameters(), tuned.encoder.parameters())
            if torch.equal(one, other)}  # fmt: skip
    assert kept == {f"layers.{number}.conv3.{part}" for number in (1, 2) for part in ("weight", "bias")}
    assert [settings["stage"] for settings in tuned.settings] == ["layers", "joint"]
    whole = inverter.fine_tune(objective="reconstruction", epochs=1, batches=1, batch_size=4, rate=1e-3, progress=False)
    assert not any(torch.equal(*pair) for pair in zip(inverter.encoder.parameters(), whole.encoder.parameters()))


def test_every_image_is_its_own(model, inverter):
    images = model(dissect.latents(model, 6)).detach()
    together = inverter.encode(images)
    assert torch.allclose(together[2:3], inverter.encode(images[2:3]), atol=1e-5)
    assert torch.allclose(together.flip(0), inverter.encode(images.flip(0)), atol=1e-5)


@pytest.fixture
def left(monkeypatch):
    """[how many batches trainings take before they are stopped]; each is saved."""
    from dissect.files import progress

    monkeypatch.setattr(progress, "EVERY", 0)
    monkeypatch.setattr(progress, "TIMES", 0)
    real, left = training.EncoderTraining.add, [100]

    def stopping(self, step):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        real(self, step)

    monkeypatch.setattr(training.EncoderTraining, "add", stopping)
    return left


def test_a_training_that_is_stopped_anywhere_ends_as_one_that_is_not(model, inverter, tmp_path, left):
    for count in (1, 1, 3, 2, 4):  # within stages, and at their ends
        left[0] = count
        with pytest.raises(KeyboardInterrupt):
            LayerInverter.train(model, LAYERS, **QUICK, resume=tmp_path)
    left[0] = 100
    whole = LayerInverter.train(model, LAYERS, **QUICK, resume=tmp_path)
    assert left[0] == 99
    assert same(whole, inverter)
    assert whole.log == inverter.log
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(ValueError, match="had the same rate"):
        LayerInverter.train(model, LAYERS, **{**QUICK, "rate": 1e-2}, resume=tmp_path)


def test_a_fine_tuning_that_is_stopped_anywhere_ends_as_one_that_is_not(inverter, tmp_path, left):
    options = {"epochs": 1, "batches": 3, "batch_size": 2, "rate": 1e-3, "progress": False}
    whole = inverter.fine_tune(**options)
    for count in (1, 1):
        left[0] = count
        with pytest.raises(KeyboardInterrupt):
            inverter.fine_tune(**options, resume=tmp_path)
    left[0] = 1  # all that is left
    assert same(inverter.fine_tune(**options, resume=tmp_path), whole)
    other = LayerInverter.untrained(ProGAN((6, 6, 4), z_channels=8, seed=4).eval(), LAYERS, width=2)
    with pytest.raises(ValueError, match="had the same"):
        other.fine_tune(**options, resume=tmp_path)


def test_saved_and_loaded(model, inverter, tmp_path):
    path = inverter.save(tmp_path / "street")
    assert path.name == "street.inverter"
    for found in (LayerInverter.load(path, model), dissect.load(path)):
        assert same(found, inverter)
        assert (found.layers, found.settings, found.log) == (inverter.layers, inverter.settings, inverter.log)
        assert repr(found) == repr(inverter)
    images = model(dissect.latents(model, 2)).detach()
    assert torch.equal(LayerInverter.load(path).encode(images), inverter.encode(images))
    with pytest.raises(ValueError, match=r"LayerInverter: generator must be known, .* loaded without it"):
        LayerInverter.load(path).fine_tune()
    other = ProGAN((6, 6, 4), z_channels=8, seed=4).eval()
    with pytest.raises(ValueError, match=r"must be the one that .*street\.inverter inverts, with fingerprint"):
        LayerInverter.load(path, other)


def test_a_file_that_holds_what_cannot_be(inverter, tmp_path):
    from dissect.files.tensors import save_tensors

    tensors, meta = inverter.contents()
    bad = [
        ({**tensors, "image.conv1.weight": torch.zeros(1)}, meta, "weights of the encoder that it describes"),
        ({**tensors, "image.conv1.weight": tensors["image.conv1.weight"] * torch.nan}, meta, "finite weights"),
        (tensors, {**meta, "layers": ["layer1"]}, "a shape more than layers"),
        (tensors, {**meta, "made": {**meta["made"], "width": 1 << 20}}, "must hold width"),
        (tensors, {**meta, "made": {**meta["made"], "shapes": [[8], [6, 4, 4], [6, 4, 4], [4, 7, 7]]}}, "size over"),
    ]
    for number, (states, about, text) in enumerate(bad):
        path = save_tensors(tmp_path / f"{number}.inverter", LayerInverter.kind, 1, states, about)
        with pytest.raises(ValueError, match=text) as error:
            LayerInverter.load(path)
        assert re.search(f"{number}.inverter", str(error.value))


@pytest.mark.parametrize(("change", "error", "text"), [
    (lambda x: x.double(), TypeError, "torch.float32, but got torch.float64"),
    (lambda x: x.numpy(), TypeError, "torch.float32, but got ndarray"),
    (lambda x: x[:0], ValueError, "with N from 1 on"),
    (lambda x: x[:, :, :8], ValueError, r"\[N, 3, 16, 16\], as the generator's have"),
    (lambda x: x.abs(), ValueError, r"be in \[-1, 1\]"),
    (lambda x: x * 127, ValueError, r"be in \[-1, 1\]"),
    (lambda x: x * torch.nan, ValueError, r"be in \[-1, 1\]"),
])  # fmt: skip
def test_images_that_are_none_of_the_generators(inverter, change, error, text):
    images = torch.linspace(-1, 1, 2 * 3 * 256).view(2, 3, 16, 16)
    with pytest.raises(error, match=f"LayerInverter: images must .*{text}"):
        inverter.encode(change(images))


def test_layers_that_no_encoder_can_invert():
    with pytest.raises(ValueError, match="image's size over"):
        Encoder([(8,), (6, 3, 3)], (3, 10, 10), 2)
    with pytest.raises(ValueError, match="larger by a whole number"):
        Encoder([(8,), (6, 4, 4), (6, 6, 6)], (3, 12, 12), 2)
    with pytest.raises(ValueError, match="begin with one that gives maps"):
        Encoder([(8,), (8,), (6, 4, 4)], (3, 8, 8), 2)
