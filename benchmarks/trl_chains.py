"""The embedded chains for TRL's `environment_factory` loop, for `agents.py`."""

from toolrest.core.dialects import ToolCall
from toolrest.environments.base import Ending
from toolrest.world.chains import Chains, chain_rows
from toolrest.world.tasks import Split

TEMPLATE = """\
{%- macro line(name, result) %}{{ {'name': name, 'result': result} | tojson }}{% endmacro -%}
{%- for message in messages -%}
{%- if message.role == 'tool' -%}
{%- if loop.first or loop.previtem.role != 'tool' -%}
{{ '<|im_start|>user\nTool results:' }}
{%- endif -%}
{{ '\n' + line(message.name, message.content) }}
{%- if loop.last or loop.nextitem.role != 'tool' %}{{ '<|im_end|>\n' }}{% endif -%}
{%- else -%}
{{ '<|im_start|>' + message.role + '\n' + message.content }}
{%- if message.tool_calls -%}
{{ '<tool_call>' }}
{%- for call in message.tool_calls -%}
{{ '\n' + {'name': call.function.name, 'parameters': call.function.arguments} | tojson }}
{%- endfor -%}
{{ '\n</tool_call>' }}
{%- endif -%}
{{ '<|im_end|>\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif -%}
"""
"""The policy's chat template, with calls and results as toolrest writes them in plain style."""
READING = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|im_start|>assistant\n",
    "fields": {
        "reasoning_content": {
            "open": "<think>",
            "close_pattern": r"</think>\s*",
            "content": "text",
        },
        "tool_calls": {
            "open": "<tool_call>",
            "close_pattern": r"</tool_call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {
                "type": "function",
                "function": {"name": "{content.name}", "arguments": "{content.parameters}"},
            },
        },
        "content": {"open": "<response>", "close_pattern": r"</response>\s*", "content": "text"},
    },
}
"""How TRL reads the dialect rlla."""


def rows_of(count):
    """Rows of the data set: a chain and its prompt each."""
    world = Chains()
    return [
        {**row, "prompt": [dict(each) for each in world.reset(row, 0).messages]}
        for row in chain_rows(Split.TRAIN, count)
    ]


def peer_environment(rows):
    """The chains as TRL wants them: a class with a method for every tool that the rows list."""

    class Peer:
        def reset(self, **row):
            self._world, self._earned = Chains(), 0.0
            self._world.reset(row, 0)

    def method(name):
        def tool(self, **arguments):
            step = self._world.call([ToolCall(name, arguments)])
            self._earned += step.reward
            return step.results[0][1]

        tool.__name__ = name
        return tool

    world = Chains()
    for row in rows:
        world.reset(row, 0)
        for each in world.chain.tools:
            setattr(Peer, each.name, method(each.name))
    return Peer


def peer_reward(completions, environments, **columns):
    """What our environment gives for the same."""
    return [
        each._earned + each._world.finish(messages[-1]["content"], Ending.ANSWERED).reward
        for each, messages in zip(environments, completions, strict=True)
    ]
