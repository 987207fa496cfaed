"""A folder with a subfolder of images for each class, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from dissect.arguments import refusal, speaks
from dissect.data.folders import MEAN, STD, ImageFolder
from dissect.digests import digest


@speaks
class ClassFolder(Dataset[Any]):
    """The images of a folder, each with the number of its class, which is the subfolder that it lies in.

    Classes are numbered from 0 in the order of their names, as torchvision's ImageFolder numbers them; those of a
    network must be numbered alike. Images are treated as by `ImageFolder`.

    Args:
        folder: has a subfolder per class, whose subfolders belong to it. No images may lie outside them, and subfolders
            without images are no classes.
        classes: the names of all classes in the order of their numbers, where that is another one, or where the folder
            may lack some, as validation images may.
        size: rows and columns.
        mean: of the channels of an image in [0, 1].
        std: of the same.
        skip: leave out files that cannot be read, see `ImageFolder`.

    Attributes:
        classes: the names.
        files: the paths, in order.

    Items:
        image: float32 [3, size, size].
        class number: int.

    Raises:
        ImportError: Pillow is missing; names the extra.
        FileNotFoundError: no such folder.
        ValueError: no images, images outside the subfolders, subfolders that are none of `classes`, or a name in it
            twice; for files see `ImageFolder`.
    """

    def __init__(
        self,
        folder: str | Path,
        classes: Sequence[str] | None = None,
        *,
        size: int = 224,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        skip: bool = False,
    ) -> None:
        self._images = ImageFolder(folder, size=size, mean=mean, std=std, skip=skip)
        self.files, self.to_pictures = self._images.files, self._images.to_pictures
        self.normalisation = self._images.normalisation
        places = [path.relative_to(self._images.folder).parts for path in self.files]
        outside = [path for path, place in zip(self.files, places) if len(place) == 1]
        if outside:
            raise refusal(
                ValueError(
                    f"images must lie in a subfolder named for their class, but {len(outside)} lie in "
                    f"{folder} itself, {outside[0].name} among them."
                )
            )
        found = sorted({place[0] for place in places})
        self.classes = tuple(found if classes is None else classes)
        if len(set(self.classes)) < len(self.classes):
            raise refusal(ValueError("classes must be named once each, but some are repeated."))
        strange = [name for name in found if name not in self.classes]
        if strange:
            more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
            raise refusal(
                ValueError(
                    f"every subfolder of {folder} must be one of the {len(self.classes)} classes, but not "
                    f"{', '.join(map(repr, strange[:5]))}{more}."
                )
            )
        numbers = {name: number for number, name in enumerate(self.classes)}
        self._numbers = [numbers[place[0]] for place in places]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Item `index`: see the class."""
        image: Any = self._images[index]  # without planes it is alone
        return image, self._numbers[index]

    def fingerprint(self) -> str:
        """Of the files and classes: tells whether they changed."""
        return digest([self._images.fingerprint(), repr((self.classes, self._numbers))])
