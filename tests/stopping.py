"""A run that is stopped before each of its steps, and goes on."""

import pytest


def gone_on(run, steps, call, folder, monkeypatch):
    """What `call(resume=...)` gives when `run.add` was stopped before each of so many steps, and then went on.

    Asserts that it goes on from there: no step is taken twice.
    """
    add = run.add
    for stop in range(steps):
        with monkeypatch.context() as patched:
            met = []

            def stopping(self, found, met=met, stop=stop):
                if len(met) == stop:
                    raise KeyboardInterrupt
                met.append(0)
                add(self, found)

            patched.setattr(run, "add", stopping)
            with pytest.raises(KeyboardInterrupt):
                call(resume=folder / str(stop))
            left = []
            patched.setattr(run, "add", lambda self, found, left=left: left.append(0) or add(self, found))
            again = call(resume=folder / str(stop))
        assert len(left) == steps - stop
        yield again
