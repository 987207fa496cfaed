"""Builds the compiled engine `dissect._C` with ninja. Everything else about the package is in pyproject.toml.

The build sees no torch. Without a C++ compiler the package installs without the engine, and the references serve;
DISSECT_REQUIRE_NATIVE=1 makes that an error.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
X86 = platform.machine().lower() in ("x86_64", "amd64")

# Every rounding must happen as written (DESIGN: sampling rule), and one binary must run on every processor.
FLAGS = "-O3 -std=c++17 -fPIC -fvisibility=hidden -ffp-contract=off -fno-math-errno -Wall -Wextra".split()
LEVEL_FLAGS = {
    "_avx2.cpp": ["-mavx2", "-mf16c"],
    "_avx512.cpp": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512"],
}


def sources() -> list[Path]:
    """Every C++ file of the engine that this processor family can use, relative to the root."""
    found = sorted(path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*.cpp"))
    return [path for path in found if X86 or not path.name.endswith(tuple(LEVEL_FLAGS))]


def level_flags(path: Path) -> list[str]:
    """The extra flags of a file that serves one SIMD level."""
    return next((flags for suffix, flags in LEVEL_FLAGS.items() if path.name.endswith(suffix)), [])


def compiler() -> str | None:
    """The C++ compiler: $CXX, else the first usual name on the PATH."""
    candidates = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    return next((name for name in candidates if shutil.which(shlex.split(name)[0])), None)


def write_ninja(build_dir: Path, target: Path, cxx: str) -> None:
    """Writes build_dir/build.ninja, which makes `target` from the sources."""
    import pybind11

    def quoted(path: object) -> str:
        return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")

    includes = [sysconfig.get_path("include"), pybind11.get_include(), str(ROOT / "csrc")]
    flags = FLAGS + [f"-I{path}" for path in includes] + (["-DDISSECT_X86_LEVELS"] if X86 else [])
    link = ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared", "-pthread"]
    lines = [
        f"flags = {shlex.join(flags)} {os.environ.get('CXXFLAGS', '')}",
        f"rule cxx\n  command = {cxx} -MMD -MF $out.d $flags $level -c $in -o $out\n"
        "  depfile = $out.d\n  deps = gcc\n  description = compile $in",
        f"rule link\n  command = {cxx} {shlex.join(link)} $in -o $out {os.environ.get('LDFLAGS', '')}\n"
        "  description = link $out",
    ]
    objects = []
    for path in sources():
        objects.append(quoted(build_dir / path.with_suffix(".o")))
        lines.append(f"build {objects[-1]}: cxx {quoted(ROOT / path)}\n  level = {shlex.join(level_flags(path))}")
    lines.append(f"build {quoted(target)}: link {' '.join(objects)}")
    build_dir.mkdir(parents=True, exist_ok=True)
    (build_dir / "build.ninja").write_text("\n".join(lines) + "\n")


class NinjaBuild(build_ext):
    """Compiles side by side, and only what changed."""

    def run(self) -> None:
        """Builds, or says why there will be no compiled engine."""
        reason = None if compiler() else "no C++ compiler was found (set CXX, or install g++ or clang++)"
        if sys.platform == "win32":
            reason = "the engine is built on Linux and macOS only"
        if reason and os.environ.get("DISSECT_REQUIRE_NATIVE") == "1":
            raise SystemExit(f"dissect: DISSECT_REQUIRE_NATIVE=1, but {reason}.")
        if reason:
            self.warn(f"dissect is installed without its compiled engine, and will be slow: {reason}.")
            self.extensions = []
        super().run()

    def build_extension(self, ext: Extension) -> None:
        """Writes the ninja file and runs it."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        build_dir = Path(self.build_temp).resolve()
        write_ninja(build_dir, target, compiler())
        from ninja import BIN_DIR

        subprocess.run([Path(BIN_DIR) / "ninja", "-C", build_dir, *(["-v"] if self.verbose > 1 else [])], check=True)


setup(
    ext_modules=[Extension("dissect._C", [str(path) for path in sources()])],
    cmdclass={"build_ext": NinjaBuild},
)
