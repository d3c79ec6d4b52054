"""As much of transformers as attune.transformers touches: where attention functions and mask functions are registered."""


class AttentionInterface:
    functions = {}

    @classmethod
    def register(cls, name, function):
        cls.functions[name] = function
