"""docs/commands.md is what the commands say."""

import runpy
from pathlib import Path

import typer

from toolrest.cli.main import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")


def test_the_page_is_written_from_the_commands():
    script = runpy.run_path(str(ROOT / "scripts" / "command_reference.py"))
    assert script["reference"]() == PAGE, "run python scripts/command_reference.py"


def test_every_option_has_a_line_with_a_text():
    sections = {part.partition("\n")[0]: part for part in PAGE.split("\n## toolrest ")[1:]}
    for name, command in typer.main.get_command(app).commands.items():
        for inner, each in getattr(command, "commands", {"": command}).items():
            section = sections.pop(f"{name} {inner}".strip())
            for option in each.params:
                if option.param_type_name == "option" and "--help" not in option.opts:
                    (line,) = [
                        row for row in section.splitlines() if f"| `{option.opts[0]}`" in row
                    ]
                    assert len(line.rsplit(" | ", 1)[1]) > 10, line
    assert not sections, "a command that there is not"
