"""The things of the scenes: a function each, which paints one with its parts."""
