"""What the tests of drawn scenes share."""

import pytest

from dissect.tiny import dataset


@pytest.fixture(autouse=True, scope="module")
def _drawn_anew():
    """Whether a scene is drawn the same again is seen only where it is drawn again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "render", dataset.render.anew)
        yield
