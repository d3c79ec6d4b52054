/* The class attune._core.Library, and errors. */
#pragma once

#include "tensor.h"

/* The open handle of a Library, NULL with an exception set for anything else. */
attune_library* library_handle(PyObject* object);

/* Sets an AttuneError of attune_last_error() and returns NULL. */
PyObject* raise_status(attune_status status);
