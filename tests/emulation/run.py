"""What a process of its own does with the emulated engine; sanitizers must be there before Python.

``run.py MODULE`` reads a line for each piece of work and answers it with a status, 0 where all went well. Each is done
in a fork, which may crash: Python and torch under sanitizers take long to start. A line is a file for what is printed,
a tab, a file for errors, a tab, and words separated by tabs:

``THREADS cases SCHEDULE BEGIN END`` compares random problems with the references, in blocks of so many threads;
SCHEDULE is a number, or "any". ``THREADS special`` compares a few large ones.
``THREADS mutants FILE:LINE ...`` prints, for each mutant, what told of it, or "survived".
"""

import gc
import os
import sys
import traceback
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from emulation import cases


def mutant(emulated, site):
    """In a process that may crash, or wait for ever."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        file, line = site.split(":")
        emulated.mutate(file, int(line))
        try:
            cases.run_crowded_cases(emulated, file)
            for seed in MUTANT_SEEDS:
                cases.run_case(emulated, seed, file=file)
        except AssertionError as error:
            os.write(writing, str(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with os.fdopen(reading) as told:
        return "survived" if status == 0 else told.read() or f"ended with {status}"


#: Small problems with several images, and every layout.
MUTANT_SEEDS = [0, 5, 9, 10, 12, 17, 20, 22, 29, 33, 36]


def work(module, threads, what, *arguments):
    """Does one piece of work."""
    emulated = cases.Emulated(module, int(threads))
    if what == "mutants":
        for site in arguments:
            print(site, mutant(emulated, site), sep="\t", flush=True)
        return
    if what == "special":
        cases.run_special_cases(emulated)
        cases.run_crowded_cases(emulated)
        cases.test_launch_failures(emulated)
    else:
        schedule, begin, end = arguments
        for seed in range(int(begin), int(end)):
            try:
                cases.run_case(emulated, seed, None if schedule == "any" else int(schedule))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from None
    print("equal", flush=True)


def forked(printed, errors, *words):
    """The status of a process that does one piece of work and writes to these files."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for descriptor, path in ((1, printed), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    try:
        work(sys.argv[1], *words)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


torch.set_num_threads(1)
gc.freeze()  # what was imported stays, and is not looked through in each fork
for line in sys.stdin:
    print(forked(*line.rstrip("\n").split("\t")), flush=True)
