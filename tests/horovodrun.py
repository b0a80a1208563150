"""horovodrun, as it would be installed, but for one look at how Horovod was built.

On every start it imports TensorFlow in a process of its own, only to ask whether Horovod has Gloo:
half of what starting a rank takes. That of the scripts of jobs and of the benchmarks is the real
one.
"""

import sys

if __name__ == "__main__":  # it starts processes that import this
    from horovod.runner import launch

    launch.gloo_built = lambda verbose=False: True
    sys.exit(launch.run_commandline())
