"""The classes of the update rules that optimize, by the rule's name, in the order of the list of rules."""

from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.training.named import choices

_BY_RULE = {cls.rule.name: cls for cls in choices("optimizer").values() if hasattr(cls, "rule")}
OPTIMIZERS = {name: _BY_RULE[name] for name in UPDATE_RULES if name in _BY_RULE}
