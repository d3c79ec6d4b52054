asked = []


def _sdpa_mask(**arguments):
    asked.append(arguments)
    return "the mask of sdpa"


class AttentionMaskInterface:
    functions = {}

    @classmethod
    def register(cls, name, function):
        cls.functions[name] = function


ALL_MASK_ATTENTION_FUNCTIONS = {"sdpa": _sdpa_mask}
