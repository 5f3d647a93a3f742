"""verl's agent loop that plays the recipe's environment, as the TRL engine's rollouts do.

verl makes an object for each trajectory, in the event loop of one of its agent workers; what they
share, the environment's processes above all, is made once a worker.
"""
# verl is not installed where the types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import copy
import json
import weakref
from typing import Any, ClassVar
from uuid import uuid4

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopOutput, register
from verl.utils.profiler import simple_timer

from toolrest.engines.verl.episodes import (
    HELDOUT,
    ROW,
    EpisodeWorker,
    episode_output,
    episode_seed,
)
from toolrest.engines.verl.names import AGENT_LOOP
from toolrest.engines.verl.speech import config_speech
from toolrest.policy.tokenizer import set_template_options
from toolrest.rollout.alone import NotSampled, Said


@register(AGENT_LOOP)
class EpisodeAgentLoop(AgentLoopBase):
    """Plays one episode; verl's server samples its turns."""

    _workers: ClassVar[dict[str, EpisodeWorker]] = {}
    """Those of this process, by their settings."""

    async def run(
        self, sampling_params: dict[str, Any], priority: int = 0, **columns: Any
    ) -> AgentLoopOutput:
        """Play the episode of a row.

        Args:
            sampling_params: verl's.
            priority: of its requests.
            columns: of the row, and what verl adds to it.
        """
        worker = self._worker()
        speech = worker.episodes.seams.speech
        told, extra = self.config.toolrest.environment, columns["extra_info"]
        step = int(columns["global_steps"])
        heldout = bool(extra[HELDOUT])
        seed = episode_seed(told.seed, step, int(extra["index"]), heldout=heldout)
        metrics: dict[str, Any] = {}
        versions: list[tuple[int, int]] = []
        request = uuid4().hex

        async def sample(ids: list[int], most: int) -> Said:
            with simple_timer("generate_sequences", metrics):
                output = await self.server_manager.generate(
                    request_id=request,
                    prompt_ids=ids,
                    sampling_params={
                        **sampling_params,
                        "max_tokens": most,
                        "stop_token_ids": list(speech.stop_ids),
                    },
                    priority=int(priority),
                )
            if output.stop_reason in ("aborted", "abort"):
                raise NotSampled("verl's server broke off a turn")
            if output.num_preempted is not None:
                metrics["num_preempted"] = metrics.get("num_preempted", 0) + output.num_preempted
            named = [output.extra_fields.get(f"{end}_global_steps") for end in ("min", "max")]
            if None not in named:
                versions.append((int(named[0]), int(named[1])))
            return Said(list(output.token_ids), output.log_probs)

        row = json.loads(extra[ROW])
        trajectory, metrics["tool_calls"] = await worker.play(row, seed, sample)
        made = episode_output(trajectory, speech.end_id)
        # verl reads the policy's version of every trajectory, of one without a token as well
        oldest, newest = zip(*versions or [(step - 1, step - 1)], strict=True)
        return AgentLoopOutput(
            prompt_ids=made.prompt_ids,
            response_ids=made.response_ids,
            response_mask=made.response_mask,
            response_logprobs=made.log_probs if sampling_params.get("logprobs") else None,
            reward_score=made.reward,
            num_turns=1 + 2 * len(trajectory.turns),
            metrics=metrics,
            extra_fields={
                **made.extra_fields,
                "min_global_steps": min(oldest),
                "max_global_steps": max(newest),
            },
        )

    def _worker(self) -> EpisodeWorker:
        """The environment of this process, begun where it is not yet there."""
        told: Any = OmegaConf.to_container(self.config.toolrest.environment, resolve=True)
        key = json.dumps(told, sort_keys=True)
        if key not in self._workers:
            tokenizer = copy.deepcopy(self.tokenizer)
            set_template_options(tokenizer, told["template_options"])
            speech = config_speech(self.config, tokenizer)
            made = self._workers[key] = EpisodeWorker(told, tokenizer, speech)
            weakref.finalize(made, made.episodes.close)
        return self._workers[key]
