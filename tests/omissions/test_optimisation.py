"""Images inverted by optimisation: against a plain loop, each for itself, and what is kept where it diverges."""

import warnings

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

import dissect
from dissect.files.tensors import save_tensors
from dissect.models import ProGAN
from dissect.omissions import LayerInverter, omission_pairs, optimisation, recovery, segmentation_statistics
from dissect.omissions.optimisation import OPTIMISERS

LAYERS = ["layer1", "layer2", "layer3"]


@pytest.fixture(scope="module")
def model():
    return ProGAN((6, 6, 4), z_channels=8, seed=3).eval()


@pytest.fixture(scope="module")
def inverter(model):
    return LayerInverter.untrained(model, LAYERS, width=2)


@pytest.fixture(scope="module")
def images(model):
    return model(dissect.latents(model, 3, seed=5)).detach()


def test_f_is_that_of_a_plain_loop(model, inverter, images):
    """Equation 5.5 for one image, with torch's own hooks."""
    wanted, z = images[:1], inverter.encode(images[:1])
    deltas = [torch.zeros(1, 6, 4, 4, requires_grad=True), torch.zeros(1, 6, 4, 4, requires_grad=True)]
    hooks = [model.get_submodule(f"layer{at + 1}").register_forward_hook(lambda _, __, out, at=at: out + deltas[at])
             for at in range(2)]  # fmt: skip
    adam, losses = torch.optim.Adam(deltas, lr=0.05), []
    for step in range(7):
        if step in (2, 3, 4):  # after 800, 1,200 and 1,800 of 3,000: 1.6, 2.4 and 3.6 of 6
            adam.param_groups[0]["lr"] /= 2
        made = model(z)
        loss = (made - wanted).abs().mean() + 3 * (avg_pool2d(made, 4) - avg_pool2d(wanted, 4)).abs().mean()
        loss = loss + 2 * sum(delta.square().mean() for delta in deltas)
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
    for hook in hooks:
        hook.remove()
    options = {"steps": 6, "rate": 0.05, "lambda_v": 3, "lambda_reg": 2, "progress": False}
    found = inverter.invert(wanted, features=lambda x: avg_pool2d(x, 4), **options)
    assert found.losses.item() == pytest.approx(min(losses), rel=1e-4)
    assert len(found.deltas) == 2
    assert torch.equal(found.z, z)
    assert len(inverter.invert(wanted, last=True, **options).deltas) == 3


def test_relative_steps_are_shares_of_each_layers_size(inverter, images):
    """Adam's first step moves each number by its rate; of each image, by this share of what its layer gives."""
    options = {"steps": 1, "rate": 0.001, "lambda_reg": 0, "progress": False}
    found = inverter.invert(images, relative=True, **options)
    early = inverter.chain.layers_of(found.z)
    assert len(found.deltas) == 2
    for delta, r in zip(found.deltas, early[1:]):
        size = r.square().flatten(1).mean(1).sqrt()
        assert len(size.unique()) == len(images)
        moved = delta.abs().flatten(1).amax(1)
        np.testing.assert_allclose(moved, 0.001 * size, rtol=1e-3)
    plain = inverter.invert(images, **options)
    assert max(float(delta.abs().max()) for delta in plain.deltas) == pytest.approx(0.001, rel=1e-3)
    assert found_by(inverter, found)


@pytest.mark.parametrize("method", ["a", "d", "e", "f"])
def test_each_image_is_inverted_as_if_alone(inverter, images, method):
    options = {"steps": 4, "progress": False}
    together = inverter.invert(images, method, **options)
    apart = inverter.invert(images, method, batch_size=2, **options)
    # Optimisation makes rounding larger; losses agree as the issue has it.
    np.testing.assert_allclose(together.losses, apart.losses, rtol=1e-4)
    assert torch.allclose(together.images, apart.images, atol=1e-3)
    if method != "a":  # whose starts are told by the place
        alone = inverter.invert(images[1:2], method, **options)
        np.testing.assert_allclose(together.losses[1:2], alone.losses, rtol=1e-4)
    assert found_by(inverter, together)


def found_by(inverter, inversion):
    """Whether r and the images are those of z and the deltas."""
    r = inverter.chain.layers_of(inversion.z, inversion.deltas)[-1]
    return torch.equal(r, inversion.r) and torch.allclose(inverter.chain.render(r), inversion.images, atol=1e-6)


def test_optimisation_comes_closer(inverter, images):
    plain = inverter.invert(images, "d", progress=False)
    for method in "ef":
        found = inverter.invert(images, method, steps=40, rate=0.05, lambda_reg=0, progress=False)
        assert (found.losses < 0.97 * plain.losses).all(), method
        closer = (found.images - images).abs().flatten(1).mean(1)
        np.testing.assert_allclose(closer, found.losses, rtol=1e-4)


def test_the_best_step_is_kept_where_an_image_diverges(inverter, images):
    def features(x):
        # Of the second image of the batch nothing finite is left once it has moved.
        far = (x - start).abs().flatten(1).amax(1) > 1e-3
        return torch.where((far & (torch.arange(len(x)) == 1))[:, None], torch.nan, x.flatten(1))

    start = inverter.invert(images, "d", progress=False).images
    with pytest.warns(UserWarning, match=r"^LayerInverter: the loss of image 1 did not .*finite \(of 1 of 3 images\)"):
        found = inverter.invert(images, "e", features=features, steps=8, rate=0.05, progress=False)
    assert found.diverged.tolist() == [False, True, False]
    assert torch.allclose(found.images[1], start[1], atol=1e-5)
    assert found.images.isfinite().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        others = inverter.invert(
            images[[0, 2]], "e", features=lambda x: x.flatten(1), steps=8, rate=0.05, progress=False
        )
    np.testing.assert_allclose(found.losses[[0, 2]], others.losses, rtol=1e-4)


def test_the_image_that_diverges_is_told_by_its_place_among_all(inverter, images):
    def features(x):
        return x.flatten(1) * (torch.nan if len(x) == 1 else 1)  # the third is alone in its batch

    with pytest.warns(UserWarning, match=r"the loss of image 2 did not stay finite \(of 1 of 3 images\)"):
        found = inverter.invert(images, "e", features=features, steps=1, batch_size=2, progress=False)
    assert found.diverged.tolist() == [False, False, True]


def test_a_cpu_takes_no_more_pixels_at_a_time_than_cost_least(inverter, images, monkeypatch):
    seen = []
    monkeypatch.setattr(optimisation, "_PIXELS", 2 * 16 * 16)
    inverter.invert(images, steps=1, batch_size=3, features=lambda x: seen.append(len(x)) or x, progress=False)
    assert set(seen) == {1, 2}
    assert optimisation.at_a_time(50, torch.empty(1, 3, 1024, 1024), torch.device("cpu")) == 1
    assert optimisation.at_a_time(50, images, torch.device("cuda")) == 50


@pytest.mark.parametrize(("options", "error", "text"), [
    ({"method": "g"}, ValueError, "method must be one of a, d, e, f"),
    ({"steps": 0}, ValueError, "steps must be at least 1"),
    ({"rate": -1}, ValueError, "rate must be a positive number"),
    ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
    ({"optimiser": "sgd"}, ValueError, r"optimiser must be one of .*, but got .sgd."),
])  # fmt: skip
def test_bad_options(inverter, images, options, error, text):
    with pytest.raises(error, match=f"LayerInverter: {text}"):
        inverter.invert(images, **{"progress": False, **options})


def test_one_layer_has_no_delta_but_the_last(model, images):
    inverter = LayerInverter.untrained(model, ["layer3"], width=2)
    with pytest.raises(ValueError, match="last must be True where there is one layer"):
        inverter.invert(images, progress=False)
    assert len(inverter.invert(images, last=True, steps=1, progress=False).deltas) == 1


def test_recovery_against_numpy(model, inverter, images):
    z = dissect.latents(model, 3, seed=5)
    found = inverter.invert(images, "d", progress=False)
    row = recovery(inverter, z, found, segmenter=lambda x: (x.mean(1, keepdim=True) > 0).to(torch.int16))
    a, b = z.numpy(), found.z.numpy()
    assert row.z == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-5)
    each = [np.corrcoef(a[:, at], b[:, at])[0, 1] for at in range(8)]
    assert row.z_mean == pytest.approx(np.mean(each), abs=1e-4)
    alone = recovery(inverter, z[:1], inverter.invert(images[:1], "d", progress=False))
    assert (alone.z_mean, alone.r_mean, alone.pixels_mean) == (None, None, None)
    assert recovery(inverter, torch.zeros_like(z), found).z is None
    with pytest.raises(ValueError, match=r"^recovery: z must be finite"):
        recovery(inverter, z * torch.nan, found)
    true, made = images.numpy().clip(-1, 1), found.images.numpy().clip(-1, 1)
    assert row.l1 == pytest.approx(np.abs(true - made).mean(), rel=1e-4)
    psnr = [10 * np.log10(4 / np.square(x - y).mean()) for x, y in zip(true, made)]
    assert row.psnr == pytest.approx(np.mean(psnr), rel=1e-4)
    same = (images.mean(1) > 0) == (found.images.mean(1) > 0)
    assert row.agreement == pytest.approx(float(same.double().mean()), abs=1e-3)
    exact = recovery(inverter, z, inverter.invert(images, "d", progress=False).__class__(
        "true", z, (), inverter.chain.layers_of(z)[-1], images, torch.zeros(3), torch.zeros(3).bool(), 0
    ))  # fmt: skip
    assert (exact.z, exact.r, exact.agreement) == (pytest.approx(1), pytest.approx(1), None)
    assert exact.pixels == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match=r"z must have shape \[3, 8\]"):
        recovery(inverter, z[:2], found)
    photographs = Bright()
    photographs.signed = False
    with pytest.raises(ValueError, match=r"^recovery: segmenter must take images in \[-1, 1\]"):
        recovery(inverter, z, found, segmenter=photographs)


class Bright(torch.nn.Module):
    """Sun where images in [-1, 1] are bright."""

    concepts, signed, level = dissect.Concepts.of([("sun", "object")]), True, 0

    def forward(self, images):
        return (images.mean(1, keepdim=True) > self.level).to(torch.int16)


def lit(segmenter):
    """It as a segmenter that does not say which images it takes."""
    segmenter.signed = None
    return segmenter


def test_pairs(inverter):
    photos = (
        torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        * torch.linspace(0.6, 1, 5)[:, None, None, None]
    )
    scenes = torch.utils.data.TensorDataset(photos, torch.zeros(5))
    seen = Bright()
    seen.signed, seen.level = False, 0.5
    real = segmentation_statistics(scenes, seen, count=5, progress=False)
    pairs = omission_pairs(
        inverter, scenes, real, Bright(), "sun", count=2, methods=["d", "e"], steps=1, progress=False
    )
    assert pairs.numbers.tolist() == [4, 3]
    assert torch.equal(pairs.images, photos[[4, 3]] * 2 - 1)
    for row in pairs.table:
        at = {4: 0, 3: 1}[row.image]
        own = Bright()(pairs.images[at : at + 1]).bool()
        made = Bright()(pairs.made[row.method][at : at + 1]).bool()
        assert row.real == pytest.approx(float(own.float().mean()) * 100)
        assert row.made == pytest.approx(float(made.float().mean()) * 100)
        assert row.survives == pytest.approx(float((own & made).sum() / own.sum()))
        assert row.kept == pytest.approx(float(made.sum() / own.sum()))
    figure = pairs.plot()
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")][:2] == [
        "real image",
        "object/sun in it",
    ]
    with pytest.raises(ValueError, match="number of images that show 'sun', 5, but is 6"):
        omission_pairs(inverter, scenes, real, Bright(), "sun", count=6)
    with pytest.raises(ValueError, match=r"^omission_pairs: statistics must be of the images .*, but are of others"):
        omission_pairs(inverter, torch.utils.data.TensorDataset(photos.flip(0)), real, Bright(), "sun", count=1)
    with pytest.raises(TypeError, match=r"^omission_pairs: images must be a data set or a tensor, but got list"):
        omission_pairs(inverter, [photos], real, Bright(), "sun", count=1)
    trained = Bright()
    trained.weight = torch.nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=r"^omission_pairs: segmenter must be the one of the statistics .*another"):
        omission_pairs(inverter, scenes, real, trained, "sun", count=1)
    far = torch.utils.data.TensorDataset(photos * 255)
    shown = segmentation_statistics(far, lit(Bright()), count=5, progress=False)
    with pytest.raises(ValueError, match=r"images must be in \[0, 1\]"):
        omission_pairs(inverter, far, shown, Bright(), "sun", count=1)
    with pytest.raises(KeyError):
        omission_pairs(inverter, scenes, real, Bright(), "moon", count=1)
    photographs = Bright()
    photographs.signed = False
    with pytest.raises(ValueError, match=r"^omission_pairs: segmenter must take images in \[-1, 1\]"):
        omission_pairs(inverter, scenes, real, photographs, "sun", count=1)


def test_inversions_and_pairs_are_files(inverter, images, tmp_path):
    found = inverter.invert(images, "f", steps=2, progress=False)
    again = dissect.load(found.save(tmp_path / "three"))
    assert repr(again) == repr(found) == f"<Inversion of 3 images by (f), mean loss {float(found.losses.mean()):.3f}>"
    for name in ("z", "r", "images", "losses", "diverged"):
        assert torch.equal(getattr(again, name), getattr(found, name))
    assert all(torch.equal(*pair) for pair in zip(again.deltas, found.deltas, strict=True))
    assert (again.method, again.steps, again.generator) == ("f", 2, inverter.generator)
    titles = [axes.get_title(loc="left") for axes in found.plot(images).axes]
    assert [title for title in titles if title] == ["images", "reconstructions (f)"]
    assert len(found.plot().axes) == 3
    with pytest.raises(ValueError, match=r"images must have shape \[3, 3, 16, 16\], but got \[2, "):
        found.plot(images[:2])
    tensors, meta = found.contents()
    bad = [({**tensors, "z": tensors["z"][:2]}, meta), ({**tensors, "r": tensors["r"].double()}, meta),
           ({**tensors, "delta4": tensors["z"]}, meta), (tensors, {**meta, "steps": -1}),
           ({**tensors, "losses": tensors["z"]}, meta)]  # fmt: skip
    for number, (held, about) in enumerate(bad):
        with pytest.raises(ValueError, match=f"{number}.inversion"):
            dissect.load(save_tensors(tmp_path / f"{number}.inversion", "inversion", 1, held, about))


def test_an_inversion_of_another_generator(model, inverter, images):
    other = LayerInverter.untrained(ProGAN((6, 6, 4), z_channels=8, seed=4).eval(), LAYERS, width=2)
    with pytest.raises(ValueError, match="recovery: found must be an inversion of the inverter's generator"):
        recovery(other, dissect.latents(model, 3), inverter.invert(images, "d", progress=False))


def minimised(start, steps=40):
    """Of a banana-shaped valley per row, in float64: where L-BFGS ends, and the losses on the way."""
    lowest, seen = [], []

    def losses_of(free):
        x = free[0]
        seen.append(x.detach().clone())
        losses = (1 - x[:, 0]).square() + 10 * (x[:, 1:] - x[:, :-1].square()).square().sum(1)
        lowest.append(losses.detach())
        return losses

    assert len(list(OPTIMISERS["lbfgs"](losses_of, [start], steps, 0.1))) == steps
    return seen, torch.stack(lowest)


def test_lbfgs_treats_each_image_as_if_alone_and_finds_the_valleys_end():
    start = torch.tensor([[-1.2, 1.0, 0.5], [0.3, -0.7, 2.0], [1.0, 1.0, 1.0]]).double()
    seen, losses = minimised(start)
    for row in range(3):
        assert torch.equal(minimised(start[row : row + 1])[1].amin(0)[0], losses[:, row].amin(0))
    assert (losses.amin(0) < 1e-6).all(), losses.amin(0)
    assert torch.allclose(seen[int(losses.sum(1).argmin())], torch.ones(3, 3).double(), atol=1e-3)


def test_lbfgs_steps_as_torch_does():
    """Where every full step is taken, as torch takes them without a line search."""
    scale = torch.tensor([[1.0, 2.0, 4.0]]).double()
    seen = []

    def losses_of(free):
        seen.append(free[0].detach().clone())
        return (scale * free[0].square()).sum(1)

    start = torch.tensor([[1.0, -2.0, 0.5]]).double()
    slope = (2 * scale * start).abs()
    # So the first steps are the same: torch's is min(1, 1 / sum of slopes) times its rate along the gradient.
    list(OPTIMISERS["lbfgs"](losses_of, [start], 5, float(slope.mean() / slope.sum())))
    x = start.clone().requires_grad_()
    theirs, optimiser = [], torch.optim.LBFGS([x], lr=1, max_iter=5, tolerance_change=0, tolerance_grad=0)

    def closure():
        optimiser.zero_grad()
        theirs.append(x.detach().clone())
        loss = (scale * x.square()).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    for one, other in zip(seen, theirs):
        assert torch.allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("method", ["e", "f"])
def test_lbfgs_inverts(inverter, images, method):
    options = {"steps": 12, "lambda_reg": 0.01, "progress": False, "features": lambda x: avg_pool2d(x, 4)}
    together = inverter.invert(images, method, optimiser="lbfgs", **options)
    assert found_by(inverter, together)
    plain = inverter.invert(images, "d", **options)
    assert (together.losses < 0.9 * plain.losses).all(), (together.losses, plain.losses)
