"""One file per backend, and in it a function per op that it has, of one signature in all files.

`dissect.ops.dispatch` has the table of which backend has which op, and calls the function; what comes here is checked
but for the numbers in activations, thresholds and brackets. These are bad data where they are NaN, infinite, of
magnitude 2^126 or more, or do not fit in their bins: "cpp" and "reference" raise ValueError then, before anything is
counted; the others, which serve GPUs that nobody waits for, set the `status` that they are given to 1. `arguments` is
what the functions take, `composed` what is made of several of them.
"""
