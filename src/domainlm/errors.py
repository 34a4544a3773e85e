"""The one exception users see: what, where, why, and the command that fixes it."""

FAILED = 1
USAGE = 2
GATE_UNMET = 3
DIFFERENCE = 4


class DomainLMError(Exception):
    """An error with a message meant for the person at the terminal.

    `what` says what went wrong, `where` names the file or recipe key, `why` the cause, and
    `fix` the command or change that mends it. `exit_code` follows the command-line contract:
    1 failed, 2 wrong usage or recipe, 3 gate unmet, 4 verification found a difference.
    """

    def __init__(
        self, what: str, *, where: str = "", why: str = "", fix: str = "", exit_code: int = FAILED
    ) -> None:
        super().__init__(what)
        self.what, self.where, self.why, self.fix = what, where, why, fix
        self.exit_code = exit_code

    def __str__(self) -> str:
        parts = [self.what]
        parts += [f"  where: {self.where}"] if self.where else []
        parts += [f"  why:   {self.why}"] if self.why else []
        parts += [f"  fix:   {self.fix}"] if self.fix else []
        return "\n".join(parts)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        # Keyword-only arguments do not survive the default pickling between worker and parent.
        return _rebuild, (self.what, self.where, self.why, self.fix, self.exit_code)


def _rebuild(what: str, where: str, why: str, fix: str, exit_code: int) -> DomainLMError:
    return DomainLMError(what, where=where, why=why, fix=fix, exit_code=exit_code)
