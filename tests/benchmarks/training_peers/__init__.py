"""What `training.py` compares: the problems, and one module for each way to train on them.

Each way is a function `train(problem, data, turns, **options)` that trains epoch by epoch, in its
turns, and returns what `evaluation.py` needs to judge the result. Each runs in a process of its own
and imports only the library that it is about.
"""
