"""Builds the engines `dissect._C` and `dissect._cuda`. Everything else about the package is in pyproject.toml.

The build sees no torch. Without a C++ compiler, or Python's headers, there are no engines, and the references serve;
DISSECT_REQUIRE_NATIVE=1 makes that an error. Without CUDA's nvcc, or with DISSECT_CUDA=0, there is no `dissect._cuda`;
DISSECT_CUDA=1 makes that an error.
"""

import os
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_engine


class NinjaBuild(build_ext):
    """Builds the engines with ninja."""

    def run(self) -> None:
        """Builds, or says why there will be no compiled engine."""
        header = Path(sysconfig.get_path("include"), "Python.h")
        reason = None if header.is_file() else f"{header} is missing (Debian: python3-dev)"
        if build_engine.compiler() is None:
            reason = "no C++ compiler was found (set CXX, or install g++ or clang++)"
        if sys.platform == "win32":
            reason = "the engine is built on Linux and macOS only"
        if reason and os.environ.get("DISSECT_REQUIRE_NATIVE") == "1":
            raise SystemExit(f"dissect: DISSECT_REQUIRE_NATIVE=1, but {reason}.")
        if reason:
            self.warn(f"dissect is installed without its compiled engine, and will be slow: {reason}.")
            self.extensions = []
        if build_engine.nvcc() is None:
            if os.environ.get("DISSECT_CUDA") == "1":
                raise SystemExit("dissect: DISSECT_CUDA=1, but no nvcc was found (set CUDA_HOME).")
            self.extensions = [extension for extension in self.extensions if extension.name != "dissect._cuda"]
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Compiles and links one shared library."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        build_engine.build(ext.name, target)


setup(
    packages=[*find_packages(include=["dissect", "dissect.*"]), "dissect.kernels"],
    package_dir={"dissect.kernels": "kernels"},
    ext_modules=[
        Extension("dissect._C", [str(path) for path in build_engine.sources()]),
        Extension("dissect._cuda", [str(path) for path in build_engine.cuda_sources()]),
    ],
    cmdclass={"build_ext": NinjaBuild},
)
