"""Groups of verbs, and what a misspelt verb is answered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import click


def check_known(context: click.Context, args: Sequence[str], known: Iterable[str]) -> None:
    """Is the first word one of the verbs? Errors: click's usage error with the nearest one."""
    names = list(known)
    if not args or args[0] in names or args[0].startswith("-"):
        return
    import difflib  # late: only a misspelt verb needs it

    near = difflib.get_close_matches(args[0], names, n=1)
    raise click.UsageError(f"there is no verb {args[0]!r}" + (f"; did you mean {near[0]}?" if near else ""), context)


class SubVerbs(click.Group):
    """A group with verbs of its own."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb of the first word. Errors: a usage error with the nearest verb."""
        check_known(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)
