"""What README and docs print: blocks of text, and the commands in them."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import typer

from toolrest.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block, or one that is indented by four spaces."""

    language: str
    """Of a fence; empty for an indented block."""
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    found, before = [], ""
    lines = iter(page.read_text().splitlines())
    for line in lines:
        if line.startswith("```"):
            inner = iter(lambda: next(lines), "```")
            found.append(Block(line[3:], "\n".join(inner)))
        elif line.startswith("    ") and not before:
            inner = [line[4:]]
            for more in lines:
                if more and not more.startswith("    "):
                    line = more
                    break
                inner.append(more[4:])
            found.append(Block("", "\n".join(inner).strip("\n")))
        before = line.strip()
    return found


def commands(block: Block) -> list[str]:
    """The lines of a block of shell commands, without comments; those that go on are one."""
    joined = re.sub(r"\\\n\s*", " ", block.text)
    return [line for each in joined.splitlines() if (line := _without_comment(each))]


def table_commands(page: Path) -> list[str]:
    """`toolrest ..` as it stands within a page's tables."""
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    return [found for row in rows for found in re.findall(r"`(toolrest [^`]*)`", row)]


def _without_comment(line: str) -> str:
    return re.sub(r"\s+#.*", "", line).strip()


def words(command: str) -> tuple[dict[str, str], list[str]]:
    """(variables that are set before it, its words)."""
    given = shlex.split(command)
    variables = {}
    while given and re.fullmatch(r"[A-Z_]+=.*", given[0]):
        name, _, value = given.pop(0).partition("=")
        variables[name] = value
    return variables, given


def parsed(given):
    """Parse a command's arguments as the command line does; nothing is done."""
    command, info = typer.main.get_command(app), "toolrest"
    context = None
    while True:
        context = command.make_context(info, list(given), parent=context)
        if not hasattr(command, "commands"):
            return
        rest = [*context._protected_args, *context.args]
        info, command, given = rest[0], command.commands[rest[0]], rest[1:]
