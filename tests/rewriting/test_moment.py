"""The second moment against a plain loop over locations; parts, files, runs that go on, samples that are too small."""

import pytest
import torch
from rewriting import nets
from torch import nn

import dissect
from dissect.files import progress as resume
from dissect.rewriting import Memory, SecondMoment


def plain(rows):
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for row in rows.double():
        total += row[:, None] * row
    return total / len(rows)


def rows_of(maps):
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def test_against_a_loop_over_locations():
    model = nets.progan()
    memory, z = Memory(model, "layer3"), nets.z_of(model, 7)
    moment = memory.second_moment(z, batch_size=3, progress=False)
    assert memory.moment is moment
    assert (moment.count, moment.images, moment.layer) == (7 * 64, 7, "layer3.conv")
    rows = torch.cat([rows_of(memory.keys(part).maps) for part in z.split(3)])
    torch.testing.assert_close(moment.moment, plain(rows), rtol=1e-12, atol=1e-14)
    assert moment.settings["numbering"] == "convolution 3, feature map 3"


def test_keys_of_one_large_mean_lose_nothing():
    memory = Memory(nets.one(nn.Linear(3, 2)), "0")
    inputs = nets.randn(4000, 3) * 1e-3 + 100
    moment = memory.second_moment(inputs, batch_size=1000, progress=False)
    torch.testing.assert_close(moment.moment, inputs.double().T @ inputs.double() / 4000, rtol=1e-13, atol=0)
    assert moment.rank == 3
    assert moment.condition > 1e9


def test_stylegan2_takes_noise_seeds_and_tokens_are_locations():
    model = nets.stylegan2()
    memory, z = Memory(model, "layer4"), nets.z_of(model, 4)
    moment = memory.second_moment(z, batch_size=3, progress=False)
    torch.testing.assert_close(moment.moment, plain(rows_of(memory.keys(z).maps)), rtol=1e-6, atol=1e-9)
    tokens = nets.randn(2, 7, 4)
    found = Memory(nets.one(nn.Linear(4, 3)), "0").second_moment(tokens, progress=False)
    torch.testing.assert_close(found.moment, plain(tokens.flatten(0, 1)), rtol=1e-12, atol=0)
    assert found.count == 14


def test_labels_beside_images_are_not_looked_at():
    images, labels = nets.randn(40, 4), torch.arange(40) % 2
    memory = Memory(nets.one(nn.Linear(4, 3)), "0")
    with_labels = memory.second_moment([(images, labels)], progress=False)
    assert torch.equal(with_labels.moment, memory.second_moment(images, batch_size=40, progress=False).moment)


def test_two_batches_are_two_not_a_batch_and_its_noise():
    memory, inputs = Memory(nets.one(nn.Linear(4, 3)), "0"), nets.randn(20, 4)
    whole = memory.second_moment(inputs, progress=False)
    for batches in ([inputs[:10], inputs[10:]], (inputs[:10], inputs[10:])):
        found = memory.second_moment(batches, progress=False)
        assert found.images == 20
        torch.testing.assert_close(found.moment, whole.moment)


def test_one_of_other_weights_is_refused(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)).eval()
    memory, inputs = Memory(model, "1"), nets.randn(20, 4)
    path = memory.second_moment(inputs, progress=False).save(tmp_path / "moment")
    key = memory.keys(inputs[:1])
    with torch.no_grad():
        model[1].weight.add_(1)  # as an edit does, which leaves keys alone
    assert memory.direction(key).rank == 1
    with torch.no_grad():
        model[0].weight.add_(1)
    memory.moment = SecondMoment.load(path)
    with pytest.raises(ValueError, match="moment must be of the network as it is, but other weights than those of '1'"):
        memory.direction(key)


def test_inverse_and_whitening():
    memory = Memory(nets.one(nn.Linear(4, 3)), "0")
    moment = memory.second_moment(nets.randn(50, 4), progress=False)
    keys = nets.randn(5, 4, seed=1)
    solved = torch.linalg.solve(moment.moment, keys.double().T).T
    torch.testing.assert_close(moment.inverse_times(keys), solved)
    torch.testing.assert_close(moment.whitening() @ moment.moment @ moment.whitening(), torch.eye(4).double())
    assert moment.whitening().dtype == torch.float64


def test_a_channel_that_is_always_0_is_left_out_and_keys_there_are_refused():
    memory = Memory(nets.one(nn.Linear(4, 3)), "0")
    inputs = nets.randn(50, 4)
    inputs[:, 2] = 0
    moment = memory.second_moment(inputs, progress=False)
    assert moment.rank == 3
    assert not moment.whitening()[2].any()
    kept = [0, 1, 3]
    solved = torch.linalg.solve(moment.moment[kept][:, kept], inputs[0, kept].double())
    torch.testing.assert_close(moment.inverse_times(inputs[0])[kept], solved)
    key = torch.tensor([1.0, 0, 1, 0])
    with pytest.raises(ValueError, match=r"0\.5 of a key's square lies outside: its rank is 3 of 4 channels over 50"):
        moment.inverse_times(key)


@pytest.mark.parametrize("channels", [4, 8, 16])
def test_rounding_is_no_direction(channels):
    """A layer norm makes the sum of channels 0: what rounding leaves of it is no key."""
    model = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 3)).eval()
    memory, inputs = Memory(model, "1"), nets.randn(40 * channels, channels)
    moment = memory.second_moment(inputs, progress=False)
    assert moment.rank == channels - 1
    key = memory.keys(inputs[:1])
    assert abs(float(memory.direction(key).matrix.sum())) < 1e-5
    # A channel is not rounding for being small, where float32 has it exactly.
    scales = torch.ones(channels)
    scales[1] = 1e-6
    plain = Memory(nets.one(nn.Linear(channels, 3)), "0")
    assert plain.second_moment(nets.randn(40 * channels, channels) * scales, progress=False).rank == channels


def test_too_small_a_sample_says_how_many_are_needed():
    model = nets.stylegan2()
    memory = Memory(nets.one(nn.Conv2d(40, 3, 3)), "0")
    moment = memory.second_moment(nets.randn(2, 40, 3, 3), progress=False)
    with pytest.raises(ValueError, match=r"at least 40 locations, .* is of 18, from 2 inputs; give at least 5, better"):
        moment.whitening()
    with pytest.raises(ValueError, match="must differ from 0, but all of the sample are 0"):
        Memory(nets.one(nn.Linear(2, 2)), "0").second_moment(torch.zeros(4, 2), progress=False).rank  # noqa: B018
    with pytest.raises(ValueError, match=r"^Memory: batch_size must be at least 1"):
        Memory(model, "layer2").second_moment(nets.z_of(model), batch_size=0)


def test_parts_add_up():
    memory, inputs = Memory(nets.one(nn.Linear(4, 3)), "0"), nets.randn(30, 4)
    whole = memory.second_moment(inputs, progress=False)
    first, rest = (memory.second_moment(part, progress=False) for part in (inputs[:12], inputs[12:]))
    both = first.merge(rest)
    torch.testing.assert_close(both.moment, whole.moment)
    assert (both.count, both.images) == (30, 30)
    with pytest.raises(ValueError, match="second moments to merge must agree, but their network differ"):
        first.merge(Memory(nets.one(nn.Linear(4, 2)), "0").second_moment(inputs, progress=False))


def test_a_file(tmp_path):
    memory = Memory(nets.one(nn.Linear(4, 3)), "0")
    moment = memory.second_moment(nets.randn(30, 4), progress=False)
    found = dissect.load(moment.save(tmp_path / "found"))
    assert isinstance(found, SecondMoment)
    assert torch.equal(found.moment, moment.moment)
    assert (found.count, found.layer, found.settings) == (30, "0", moment.settings)
    other = Memory(nets.one(nn.Linear(3, 3)), "0")
    other.moment = found
    with pytest.raises(ValueError, match="moment must be of layer '0' with 3 channels, but is of '0' with 4"):
        other.direction(torch.ones(1, 3))


class Stop(BaseException):
    """Ends a run in its middle."""


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path, monkeypatch, saves):
    model = nets.progan()
    memory, z = Memory(model, "layer2"), nets.z_of(model, 8)
    whole = memory.second_moment(z, batch_size=3, progress=False)
    monkeypatch.setattr(resume, "EVERY", 0)
    monkeypatch.setattr(resume, "TIMES", 0)
    save, count = resume.Progress.save, [0]

    def stopping(self, run, now=False):
        save(self, run, now)
        count[0] += 1
        if count[0] == saves:
            raise Stop

    monkeypatch.setattr(resume.Progress, "save", stopping)
    with pytest.raises(Stop):
        memory.second_moment(z, batch_size=3, resume=tmp_path, progress=False)
    monkeypatch.setattr(resume.Progress, "save", save)
    again = memory.second_moment(z, batch_size=3, resume=tmp_path, progress=False)
    assert torch.equal(again.moment, whole.moment)
    assert (again.count, again.images) == (whole.count, whole.images)
    with pytest.raises(ValueError, match="must name a folder whose run had the same layer"):
        Memory(model, "layer3").second_moment(z, batch_size=3, resume=tmp_path, progress=False)
