"""Define the errors of the test kit."""

from __future__ import annotations

from ...errors import ConfigError, GeminiError

__all__ = ["BotExitedError", "ScenarioError", "SpeechSynthesisError", "TurnTimeoutError"]


class BotExitedError(GeminiError):
    """The bot under test ended before it should have, or could not be ended.

    Attributes:
        code: Exit code of its process, negative for a signal; None for a callable.
        stderr: The last lines that its process wrote to stderr; empty for a callable, whose
            exception is the `__cause__`.
    """

    def __init__(self, message: str, *, code: int | None = None, stderr: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.stderr = stderr

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the attributes when the error crosses a process boundary."""
        return (type(self), self.args, self.__dict__.copy())


class TurnTimeoutError(GeminiError, TimeoutError):
    """A person waited in vain for a turn of the bot; the message says what was seen instead."""


class SpeechSynthesisError(GeminiError):
    """A text could not be made into speech: espeak-ng is not installed, or failed."""


class ScenarioError(ConfigError):
    """A file of scenarios cannot be used; the message names the file and the place in it."""
