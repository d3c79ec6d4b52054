"""What happens with a call that the kernels do not serve: the user chooses, and is told which it was."""

import os
import warnings

CHOICES = ("sdpa", "raise")


class Unsupported(NotImplementedError):
    """A call that the kernels do not serve, where the choice is "raise"; the text says what it is in it."""


class FallbackWarning(UserWarning):
    """A call went to scaled_dot_product_attention; once for each reason."""


def _checked(choice, where):
    if choice not in CHOICES:
        raise ValueError(f"{where} is {choice!r}, must be one of {', '.join(map(repr, CHOICES))}")
    return choice


_choice = _checked(os.environ.get("ATTUNE_FALLBACK", "sdpa"), "ATTUNE_FALLBACK")
_told = set()


def set_fallback(choice):
    """What attention() does with a call that the kernels do not serve: "sdpa" (the default, or ATTUNE_FALLBACK):
    PyTorch's scaled_dot_product_attention answers, and a FallbackWarning says why, once for each reason; "raise":
    attune.Unsupported. Returns the former choice. Of the process, not of the thread."""
    global _choice
    former, _choice = _choice, _checked(choice, "the fallback")
    return former


def get_fallback():
    return _choice


def fall_back(reason, choice=None):
    """Returns where SDPA is to answer, having told why; raises Unsupported where it is not."""
    choice = _choice if choice is None else _checked(choice, "fallback")
    if choice == "raise":
        raise Unsupported(f"attune does not serve this call: {reason}")
    if reason not in _told:
        _told.add(reason)
        warnings.warn(f"scaled_dot_product_attention answers instead of attune: {reason}", FallbackWarning, stacklevel=3)
