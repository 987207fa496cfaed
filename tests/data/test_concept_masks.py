"""Masks of concepts: as the published code makes and reads them, back again, and files that are none."""

import numpy as np
import pytest
import torch
from scipy import sparse

import dissect
from dissect.data import read_concept_masks, write_concept_masks
from dissect.stats.formulas import FormulaSearch

NAMES = ["sky", "red-c", "tree", "never"]


@pytest.fixture(scope="module")
def scenes():
    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(0, 4, (7, 2, 6, 9), generator=generator)
    return torch.rand(7, 3, 6, 9, generator=generator), planes


def published(planes, label, size):
    """Where a label is, at a size: of all planes together, nearest (`annotations_wrapper.parse_concept`)."""
    mask = (planes == label).any(1)
    return torch.nn.functional.interpolate(mask.float()[None], size=size, mode="nearest").bool()[0].flatten(1).numpy()


@pytest.mark.parametrize("size", [None, (4, 5), (12, 9)])
def test_files_are_the_published_ones(scenes, tmp_path, size):
    images, planes = scenes
    disjoint = write_concept_masks(tmp_path, zip(images.split(3), planes.split(3)), NAMES, size=size)
    masks = [published(planes, label, size or (6, 9)) for label in range(1, 5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.npz" for name in NAMES)
    for name, mask in zip(NAMES, masks):
        found = sparse.load_npz(tmp_path / f"{name}.npz")
        assert isinstance(found, sparse.csr_matrix)
        assert found.dtype == bool
        assert found.has_sorted_indices
        assert np.array_equal(found.toarray(), mask)
    for one in range(4):
        for other in range(4):
            assert disjoint[one, other] == (one != other and not (masks[one] & masks[other]).any())


def test_back_again(scenes, tmp_path):
    images, planes = scenes
    write_concept_masks(tmp_path, torch.utils.data.TensorDataset(images, planes), NAMES, batch_size=2)
    for names in (None, NAMES, NAMES[2::-1]):
        found, concepts = read_concept_masks(tmp_path, (6, 9), names=names)
        assert concepts.names[1:] == tuple(names or sorted(NAMES))
        assert found.shape == (7, 2, 6, 9)
        for label, name in enumerate(concepts.names[1:], 1):
            assert torch.equal((found == label).any(1), (planes == NAMES.index(name) + 1).any(1))
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1)).eval()
    data = torch.utils.data.TensorDataset(images, found)
    assert dissect.dissect(model, "0", data, concepts=concepts, progress=False, decoys=0).concepts == concepts


def test_formulas_on_masks_and_on_planes(scenes, tmp_path):
    """The IoU of a formula over the written masks is that of the search over the planes."""
    images, planes = scenes
    write_concept_masks(tmp_path, [(images, planes)], NAMES)
    masks = [sparse.load_npz(tmp_path / f"{name}.npz").toarray() for name in NAMES]
    fires = (images[:, 0] > 0.8).flatten(1).numpy()
    carries = torch.stack([torch.from_numpy(mask).flatten() for mask in [np.zeros_like(masks[0]), *masks]], 1)
    rows, inverse = carries.unique(dim=0, return_inverse=True)
    search = FormulaSearch(rows.long() * torch.arange(5), inverse.bincount(), 5)
    found = search.best(inverse[torch.from_numpy(fires).flatten()].bincount(minlength=len(rows)))
    holds = masks[found.formula.labels[0] - 1]
    for label, join in zip(found.formula.labels[1:], found.formula.joins):
        own = masks[label - 1]
        holds = {"OR": holds | own, "AND": holds & own, "AND NOT": holds & ~own}[join]
    assert ((holds & fires).sum(), holds.sum()) == (found.intersection, found.area)


def test_refusals(scenes, tmp_path):
    images, planes = scenes
    data = [(images, planes)]
    for given, names, message in (
        (data, ["a", "a", "b"], "must have different names, as their files do, but two are 'a'"),
        (data, ["a/b", "b", "c"], "must have names that files can have, but one is 'a/b'"),
        (data, ["a", "b"], r"must hold labels in \[0, 3\), but batch 0 has 0 to 3"),
        ([images], NAMES, "must have label planes, but batch 0 comes without"),
        ([*data, (images, planes[..., :8])], NAMES, "must be of one size, but batch 1 has another"),
    ):
        with pytest.raises(ValueError, match=f"^write_concept_masks: .*{message}"):
            write_concept_masks(tmp_path / "none", given, names)
    assert not list((tmp_path / "none").iterdir())
    with pytest.raises(FileNotFoundError, match="must hold masks"):
        read_concept_masks(tmp_path / "none", (6, 9))
    with pytest.raises(FileNotFoundError, match=r"must hold sky\.npz"):
        read_concept_masks(tmp_path / "none", (6, 9), names=["sky"])
    write_concept_masks(tmp_path, data, NAMES)
    with pytest.raises(ValueError, match=r"must have shape \[N, 63\], images and their pixels, but has \[7, 54\]"):
        read_concept_masks(tmp_path, (7, 9))


def test_files_that_are_no_masks(tmp_path):
    good = sparse.csr_matrix(np.eye(3, 4, dtype=bool))
    sparse.save_npz(tmp_path / "a.npz", good)
    assert read_concept_masks(tmp_path, (2, 2))[0].flatten(1).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    parts = {"format": b"csr", "shape": np.array([3, 4]), "data": good.data, "indices": good.indices,
             "indptr": good.indptr}  # fmt: skip
    bad = tmp_path / "b.npz"
    for name, value in (
        ("indices", np.array([0, 1, 9], dtype=np.int32)),
        ("indptr", np.array([0, 2, 1, 3], dtype=np.int32)),
        ("data", np.array([1, 2, 1])),
        ("data", np.array([1.0, 0.5, 1.0])),
        ("data", np.array([{}, 1, 2], dtype=object)),
        ("shape", np.array([2, 4])),
        ("format", b"coo"),
    ):
        np.savez(bad, **{**parts, name: value})
        with pytest.raises(ValueError, match=r"^read_concept_masks: .*b\.npz must"):
            read_concept_masks(tmp_path, (2, 2))
    bad.write_bytes(b"none")
    with pytest.raises(ValueError, match=r"b\.npz must be a scipy sparse matrix, but cannot be read"):
        read_concept_masks(tmp_path, (2, 2))
