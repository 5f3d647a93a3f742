"""Steps of several turns by TRL's own `environment_factory` loop and by ours, side by side.

    python benchmarks/agents.py

Both sides train the shipped policy of the embedded chains on the same chains, in groups of 8 by
default, at temperature 1, with the same limits of turns, of a turn's tokens and of all tokens.
Arms: `trl` is a `GRPOTrainer` with `environment_factory`, `ours` a `ResTTrainer` with
`environment`. They run in turn, in one process. Seconds are the processor's, those of the
environments' processes among them, of one thread unless `--threads` says else, so that other work
on the machine counts little.

TRL is given what it needs to do equal work: a chat template that writes results as the policy knows
them, and a response template that reads its dialect; that both sides' prompts and seams have the
same ids is checked. Tools are left out of what TRL renders and types, which saves it work: the
chains' messages list them. Its loop knows no end by the environment and reads one call a block, so
the means of turns, calls and tokens are printed, and a mean that differs by over 10 % is named.

Afterwards 7 episodes make one call each that takes a second, in seconds of the clock.
"""

import argparse
import json
import logging
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from itertools import groupby
from pathlib import Path

import torch
from datasets import Dataset
from peers import peak_of, ready
from sleepy import Sleepy
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl_chains import READING, TEMPLATE, peer_environment, peer_reward, rows_of

import toolrest
from toolrest.core.dialects import ToolCall
from toolrest.engines.common.episodes import EpisodeOptions, Episodes
from toolrest.engines.trl.trainer import ResTConfig, ResTTrainer
from toolrest.rollout.repeated import RepeatedTurns
from toolrest.world.chains import Chains

ARMS = ("trl", "ours")
POLICY = Path(toolrest.__file__).parent / "world" / "chain_policy"
SLEEPY = Path(__file__).with_name("sleepy.py")


def tokenizer_of(arm):
    tokenizer = AutoTokenizer.from_pretrained(POLICY)
    if arm == "trl":
        tokenizer.chat_template, tokenizer.response_template = TEMPLATE, READING
    return tokenizer


def settings(options, rows):
    return {
        "output_dir": tempfile.mkdtemp(),
        "loss_type": "grpo",
        "num_generations": options.group,
        "max_completion_length": options.tokens,
        "learning_rate": 1e-7,
        "max_steps": 1000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": rows,
    }


def make_trainer(arm, options):
    """The trainer of an arm; what `_generate` gave and took is in its `seen`."""
    rows = options.groups * options.group
    chains = rows_of(options.groups * 8)
    common = {
        "model": AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32),
        "processing_class": tokenizer_of(arm),
        "train_dataset": Dataset.from_list(chains),
    }
    if arm == "trl":
        micro = max(1, min(rows, options.micro // 512))
        while rows % micro:
            micro -= 1
        trainer = GRPOTrainer(
            reward_funcs=[peer_reward],
            environment_factory=peer_environment(chains),
            args=GRPOConfig(
                max_tool_calling_iterations=options.turns - 1,
                generation_kwargs={"max_new_tokens": options.turn_tokens},
                bf16=False,
                gradient_accumulation_steps=rows // micro,
                **settings(options, micro),
            ),
            **common,
        )
        trainer._env_tools[None] = []  # not listed again in the prompt; see above
    else:
        trainer = ResTTrainer(
            environment=Chains,
            args=ResTConfig(
                max_turns=options.turns,
                max_turn_tokens=options.turn_tokens,
                micro_tokens=options.micro,
                prefix_sharing="on",
                **settings(options, rows),
            ),
            **common,
        )
    trainer.seen = []
    generate = trainer._generate

    def noted(prompts):
        started = spent()
        found = generate(prompts)
        trainer.seen.append(counts(trainer, found) | {"seconds": spent() - started})
        return found

    trainer._generate = noted
    return ready(trainer)


def counts(trainer, generated):
    """Means over a generation's trajectories."""
    prompts, _, masks, *_ = generated
    if getattr(trainer, "acts", None):
        calls = [sum(len(t.calls) for t in each.turns) for each in trainer.acts.played.trajectories]
    else:
        calls = [sum(m["role"] == "tool" for m in messages) for messages in generated[3]]
    return {
        "prompt": statistics.mean(map(len, prompts)),
        "turns": statistics.mean(sum(kind for kind, _ in groupby(mask)) for mask in masks),
        "calls": statistics.mean(calls),
        "sampled": statistics.mean(map(sum, masks)),
        "read": statistics.mean(mask.count(0) for mask in masks),
        "longest": max(map(len, masks)),
    }


def spent():
    """Processor seconds of this process and of all that it began."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    tick = os.sysconf("SC_CLK_TCK")
    children = sum(sum(map(int, each[11:15])) / tick for each in descendants(os.getpid()))
    return time.process_time() + ended.ru_utime + ended.ru_stime + children


def descendants(pid):
    """The fields of /proc/PID/stat after the name, of every living child and of theirs (Linux)."""
    try:
        texts = [each.read_text() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    except FileNotFoundError:
        return
    for child in " ".join(texts).split():
        try:
            stat = Path(f"/proc/{child}/stat").read_text()
        except FileNotFoundError:
            continue
        yield stat.rpartition(")")[2].split()
        yield from descendants(child)


def whole_step(trainer, stream):
    """An optimiser step with its episodes and rewards; seconds."""
    started = spent()
    for _ in range(trainer.args.gradient_accumulation_steps):
        trainer.training_step(trainer.model, next(stream), None)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.state.global_step += 1
    return spent() - started


def check_equal(trainers):
    """Both sides read the same ids: those of the prompts, and those of one and of two results."""
    tokenizers = {arm: trainer._tokenizer for arm, trainer in trainers.items()}
    for row in rows_of(4):
        ids = [
            each.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)
            for each in tokenizers.values()
        ]
        assert ids[0] == ids[1], "the prompts differ"
    for texts in (["kelp"], ["error: x must be 3", "7é\n"]):
        calls = [ToolCall("FindBook", {})] * len(texts)
        ours = trainers["ours"].acts.episodes.seams.results(calls, texts, 0)
        messages = [{"role": "tool", "name": "FindBook", "content": text} for text in texts]
        assert ours == trainers["trl"]._get_tool_suffix_ids(messages), "the seams differ"


def memory(arm, options):
    """Bytes that a step of an arm adds at its peak, in a process of its own; the environments'
    processes are not among them.
    """
    command = [sys.executable, __file__, "--memory-of", arm]
    for name in ("group", "groups", "micro", "tokens", "turns", "turn_tokens", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def report(what, times):
    ratios = [ours / theirs for ours, theirs in zip(times["ours"], times["trl"], strict=True)]
    print(
        f"{what}, ours over trl: median {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f}); trl takes "
        f"{statistics.median(times['trl']):.2f} s, ours {statistics.median(times['ours']):.2f} s",
        flush=True,
    )


def report_work(trainers):
    names = ("prompt", "turns", "calls", "sampled", "read", "longest")
    means = {
        arm: {name: statistics.mean(each[name] for each in trainer.seen[1:]) for name in names}
        for arm, trainer in trainers.items()
    }
    for name in names:
        theirs, ours = means["trl"][name], means["ours"][name]
        note = " (differ by over 10 %)" if abs(ours - theirs) > 0.1 * theirs else ""
        print(f"{name} a trajectory: trl {theirs:.2f}, ours {ours:.2f}{note}", flush=True)


def sleepy_turns(tokenizer, count):
    """A call and then an answer, in place of a policy."""
    texts = (
        '<tool_call>\n{"name": "wait", "parameters": {}}\n</tool_call><|im_end|>',
        "<response>done</response><|im_end|>",
    )
    turns = iter([tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts])
    return lambda *_: [list(next(turns))] * count


def sleep_theirs(options, count=7):
    """Seconds of the clock that TRL's loop takes for episodes of one slow call each."""
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(POLICY, dtype=torch.float32),
        processing_class=tokenizer_of("trl"),
        train_dataset=Dataset.from_list(rows_of(1)),
        environment_factory=Sleepy,
        args=GRPOConfig(bf16=False, **settings(options, count) | {"num_generations": count}),
    )
    trainer._env_tools[None] = []
    said = sleepy_turns(trainer._tokenizer, count)
    trainer._generate_single_turn = lambda *_, **__: (said(), None)
    started = time.perf_counter()
    trainer._generate_and_score_completions(rows_of(1) * count)
    return time.perf_counter() - started


def sleep_ours(speech, count=7):
    """The same through our loop, with and without the start of the first processes."""
    tokenizer = tokenizer_of("ours")
    times = []
    options = EpisodeOptions(f"{SLEEPY}:Sleepy", "plain")
    with Episodes(options, tokenizer, speech) as episodes:
        for _ in range(2):
            said = sleepy_turns(tokenizer, count)
            started = time.perf_counter()
            played = episodes.play(
                rows_of(1) * count,
                [0] * count,
                lambda prompts, group: RepeatedTurns(
                    [ids for ids in prompts for _ in range(group)],
                    lambda ids, most: said(),  # noqa: B023 -- called before the next one
                ),
            )
            times.append(time.perf_counter() - started)
            assert all(len(each.turns) == 2 for each in played.trajectories), played
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--turns", type=int, default=6, help="turns of an episode, at most")
    parser.add_argument("--turn-tokens", type=int, default=64, help="tokens of a turn, at most")
    parser.add_argument("--tokens", type=int, default=320, help="tokens after a prompt, at most")
    parser.add_argument("--micro", type=int, default=4096, help="tokens of a forward")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=ARMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    if options.memory_of:
        trainer = make_trainer(options.memory_of, options)
        stream = iter(trainer.get_train_dataloader())
        print(json.dumps(peak_of(lambda: whole_step(trainer, stream))))
        return
    print(f"{options.groups} groups of {options.group} trajectories", flush=True)
    trainers = {arm: make_trainer(arm, options) for arm in ARMS}
    check_equal(trainers)
    streams = {arm: iter(trainer.get_train_dataloader()) for arm, trainer in trainers.items()}
    times = {arm: [] for arm in ARMS}
    for pair in range(options.pairs + 1):  # the first warms up
        for arm in ARMS if pair % 2 else reversed(ARMS):
            torch.manual_seed(pair)
            times[arm].append(whole_step(trainers[arm], streams[arm]))
    report("whole step", {arm: each[1:] for arm, each in times.items()})
    sampling = {arm: [each["seconds"] for each in trainers[arm].seen[1:]] for arm in ARMS}
    report("episodes alone", sampling)
    report_work(trainers)
    peaks = {arm: memory(arm, options) for arm in ARMS}
    print(
        f"memory of a step, ours over trl: {peaks['ours'] / peaks['trl']:.2f} "
        f"(trl: {peaks['trl'] / 1e9:.2f} GB)",
        flush=True,
    )
    first, second = sleep_ours(trainers["ours"].speech)
    theirs = sleep_theirs(options)
    print(f"7 calls of 1 s: trl {theirs:.2f} s, ours {second:.2f} s (at first {first:.2f} s)")


if __name__ == "__main__":
    main()
