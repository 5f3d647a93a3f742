"""A prompt as a run words them, as Python that transformers runs."""

from __future__ import annotations

from dataclasses import replace
from pprint import pformat
from typing import TYPE_CHECKING

from toolrest.core.dialects import get_dialect
from toolrest.data.dialogue import Dialogue, Tool, UserTurn
from toolrest.data.prompts import sample_prompt, takes_system, without_system
from toolrest.data.wording import Prompt, word
from toolrest.policy.wording import wording_of
from toolrest.recipe import EMBEDDED, Recipe
from toolrest.runs.model_card import Prompting, code

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from toolrest.policy.speech import Speech

_TOOL = Tool(
    "get_weather",
    "Weather of a city on a day.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "day": {"type": "string", "description": "today or tomorrow."},
        },
        "required": ["city"],
    },
)
_QUESTION = "What will the weather be in Oslo tomorrow?"
_WORDS = {
    "rlla": "It was trained with the wording of RLLA: the tools in the system message, the whole "
    "dialogue in the user's.",
    "template": "Its chat template lists the tools; give them as JSON schemas.",
    "plain": "It was trained with the tools listed in plain words in the system message.",
}
_TASKS = (
    "It was trained on tasks like the one below: the tools in the system message, and one request."
)
_CHAINS = (
    "It was trained on chains of calls like the one that begins below: the tools in the system "
    "message, a request, and after each call a message with its result."
)
_SMALL = " It is a small policy of a made-up world and knows no other words."
_CODE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

name = {folder!r}{where}
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name)
messages = {messages}
tools = {tools}
prompt = tokenizer.apply_chat_template(
    messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**prompt, max_new_tokens={limit}, eos_token_id={stops}, do_sample=False)
print(tokenizer.decode(output[0, prompt["input_ids"].shape[1] :]))"""


def prompting(
    prompt: Prompt,
    words: str,
    limit: int,
    tokenizer: PreTrainedTokenizerBase,
    speech: Speech,
    folder: str,
) -> Prompting:
    """How to prompt a policy.

    Args:
        prompt: an example.
        words: what wording that is.
        limit: most new tokens of a reply.
        folder: what the code loads: a name on the hub, or ./ and the name of the card's folder.
    """
    messages = prompt.messages
    if not takes_system(tokenizer):
        messages = without_system(messages)
    ends = [code(str(tokenizer.convert_ids_to_tokens(stop))) for stop in speech.stop_ids]
    template = tokenizer.chat_template
    return Prompting(
        words=words,
        code=_CODE.format(
            folder=folder,
            where="  # this folder, wherever it is" if folder.startswith("./") else "",
            messages=pformat(messages, width=96, sort_dicts=False),
            tools=pformat(prompt.tools, width=96, sort_dicts=False),
            limit=limit,
            stops=list(speech.stop_ids),
        ),
        ends=" or ".join(ends),
        template=template if isinstance(template, str) else None,
    )


def with_own_code(how: Prompting) -> Prompting:
    """The same for a policy that loads by code which comes with it: that it does, and the flag."""
    return replace(
        how,
        words=f"{how.words} It loads by code that comes with it, which `trust_remote_code=True` "
        "runs: read that code before.",
        code=how.code.replace(
            "from_pretrained(name)", "from_pretrained(name, trust_remote_code=True)"
        ),
    )


def example_prompt(recipe: Recipe) -> tuple[Prompt, str]:
    """(a prompt as the run words its own, what wording that is). Rows of a run are not shown: they
    may be private.
    """
    wording = wording_of(recipe)
    small = _SMALL if recipe.policy == EMBEDDED else ""
    if wording.single:
        from toolrest.world.sets import world_samples
        from toolrest.world.tasks import Split

        (sample,) = world_samples(Split.HELDOUT, 1, 0, recipe.data.world.knobs)
        return sample_prompt(sample), f"{_TASKS}{small}"
    if wording.listed:
        from toolrest.world.chain_tasks import make_chain
        from toolrest.world.tasks import Split

        return Prompt(list(make_chain(Split.HELDOUT, 0, 0).messages)), f"{_CHAINS}{small}"
    style = recipe.rendering.style
    dialogue = Dialogue((_TOOL,), (UserTurn(_QUESTION),))
    think = bool(recipe.data.think)
    prompt = word(dialogue, style, get_dialect(recipe.dialect), recipe.data.thoughts, think=think)
    return prompt, _WORDS[style]
