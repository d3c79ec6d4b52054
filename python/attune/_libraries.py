"""The open libraries: one a GPU, opened at its first call and kept for the process's life."""

import ctypes
import glob
import importlib.util
import logging
import os
import threading

from attune import _core

log = logging.getLogger("attune")
log.addHandler(logging.NullHandler())  # silent unless the program logs

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)
_lock = threading.Lock()
_options = {"database": None, "cubins": None}
libraries = {}  # GPU number -> _core.Library; read without the lock


def configure(database=None, cubins=None):
    """Names the database of records and the folder of compiled kernels (paths; None: ATTUNE_DB, else those in the
    cache folder) for what is opened from now on. What is open goes on with its own until reload()."""
    _options.update(database=database and os.fspath(database), cubins=cubins and os.fspath(cubins))
    reload()


def options():
    return dict(_options)


def reload():
    """Lets later calls see records that came after a shape's first call. Kernels that are in use, also by captured
    CUDA graphs, stay as they are."""
    with _lock:
        libraries.clear()


def library_of(device):
    """The library of a GPU (torch's number), opened if need be. May raise AttuneError."""
    library = libraries.get(device)
    if library is None:
        with _lock:
            library = libraries.get(device)
            if library is None:
                _offer_nvrtc()
                library = _core.Library(**_options, device=device, log=_log)
                libraries[device] = library
    return library


def _log(level, text):
    log.log(_LEVELS[level], text)


def _offer_nvrtc():
    """Points attune at the NVRTC that PyTorch's packages bring, where the machine has no other."""
    if "ATTUNE_NVRTC" in os.environ or glob.glob("/usr/local/cuda*/lib64/libnvrtc.so.1[3-9]*"):
        return
    try:
        ctypes.CDLL("libnvrtc.so.13")
        return
    except OSError:
        pass
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec else ():
        found = sorted(glob.glob(os.path.join(folder, "*", "lib", "libnvrtc.so.1[3-9]*")))
        if found:
            os.environ["ATTUNE_NVRTC"] = found[0]
            return


def _after_fork():
    libraries.clear()  # the parent's; opening one in the child says what is wrong, if CUDA was in use


os.register_at_fork(after_in_child=_after_fork)
