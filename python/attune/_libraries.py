"""The open libraries: one a GPU, opened at its first call and kept for the process's life."""

import copy
import ctypes
import glob
import importlib.util
import logging
import os
import threading
import time

from attune import _core

log = logging.getLogger("attune")
log.addHandler(logging.NullHandler())  # silent unless the program logs

_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING)
_RETRY_SECONDS = 30  # after which what could not be opened is tried again
_lock = threading.Lock()
_options = {"database": None, "cubins": None, "packs": None, "queue_misses": 0, "server": None}
libraries = {}  # GPU number -> _core.Library; read without the lock
_failures = {}  # GPU number -> (AttuneError, time.monotonic() of it)
_now = time.monotonic


def configure(database=None, cubins=None, packs=None, queue_misses=None, server=None):
    """Names the database of records and the folder of compiled kernels (paths; None: ATTUNE_DB, else those in the
    cache folder) and the packs of records (files and folders with ':' between them, "builtin" for those that come
    with attune; None: ATTUNE_PACKS, else "builtin"). queue_misses=True puts shapes without an exact record on the
    database's wanted list, which `attune sweep --wanted` tunes; False never does; None: where ATTUNE_WANTED is 1.
    server: the URL of an `attune serve` that is asked for what is not known here (None: ATTUNE_SERVER; "": none).
    Calls from now on use them; captured CUDA graphs stay as they are."""
    _options.update(database=database and os.fspath(database), cubins=cubins and os.fspath(cubins), packs=packs,
                    queue_misses=0 if queue_misses is None else 1 if queue_misses else -1, server=server)
    reload()


def options():
    return dict(_options)


def reload():
    """Lets later calls see records that came after a shape's first call. Kernels that are in use, also by captured
    CUDA graphs, stay as they are."""
    with _lock:
        libraries.clear()
        _failures.clear()


def library_of(device):
    """The library of a GPU (torch's number), opened if need be. May raise AttuneError, the same for some seconds: a
    program that goes on without attune is not to wait for a locked database at every call."""
    library = libraries.get(device)
    if library is None:
        with _lock:
            library = libraries.get(device) or _open(device)
    return library


def _open(device):
    error, failed_at = _failures.get(device, (None, 0))
    if error is not None and _now() - failed_at < _RETRY_SECONDS:
        raise copy.copy(error)
    try:
        _offer_nvrtc()
        libraries[device] = _core.Library(**_options, device=device, log=_log)
    except _core.AttuneError as failure:
        _failures[device] = (copy.copy(failure), _now())  # without the traceback, which holds the caller's tensors
        raise
    return libraries[device]


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
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _failures.clear()
    libraries.clear()  # the parent's; opening one in the child says what is wrong, if CUDA was in use


os.register_at_fork(after_in_child=_after_fork)
