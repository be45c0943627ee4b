"""What people point at, in whatever file they wrote it, becomes the prompts of units."""

from .matching import NamedPrompts, PromptJoin
from .parsing import UnitPrompt, parse_prompts
from .prompt_source import PromptSource

__all__ = ["NamedPrompts", "PromptJoin", "PromptSource", "UnitPrompt", "parse_prompts"]
