"""The sections of a recipe, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

if TYPE_CHECKING:
    from toolrest.world.thought_tasks import Knobs


def _takes_bool(annotation: Any) -> bool:
    """Whether a field's type has a truth value in it."""
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))


def texts(value: Any) -> list[str] | None:
    """The texts of `a,b` or of a list of texts; None: something else."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    whole = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return value if whole else None


class Section(BaseModel):
    """What all parts of a recipe have in common."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and not _takes_bool(field.annotation):
            if {"on", "off"} <= set(get_args(field.annotation)):
                return "on" if value else "off"  # YAML 1.1 reads these words so
            raise ValueError("neither a number nor a text")
        return value


class DataSource(Section):
    """One part of a mixture."""

    path: str
    """A file of any format, or a data set on the hub."""
    format: str | None = None
    """rlla, rlla_json, apibank, xlam, bfcl, prompt, messages, toolace or sharegpt. None: seen from
    each row."""
    take: int | None = Field(default=None, ge=1)
    """Samples at most, drawn at random. None: all."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the rows, drawn at random before `take`."""
    mask: float = Field(default=0.0, ge=0, le=1)
    """Share of the rows whose tools and parameters get random names (Hammer)."""
    drawn_by: str | None = None
    """What seeds the draws of `share`, `take` and `mask`, so that they stay the same wherever the
    file lies. None: the path as it was written."""


class World(Section):
    """Which tasks of the embedded world, where neither data nor an environment is given;
    docs/worlds.md has them."""

    tasks: Literal["single", "thoughts"] = "single"
    """single: a request whose values the calls copy. thoughts: the same, and the thought has to
    find values that the request does not give plainly."""
    decided_in_thought: float | None = Field(default=None, ge=0, le=1)
    """With thoughts: the share of the values that the thought has to find. None: 1."""
    idle_sentences: int | None = Field(default=None, ge=0, le=4)
    """With thoughts: how many sentences the policy is told to think that decide nothing. None:
    0."""

    @property
    def knobs(self) -> Knobs | None:
        """Of the tasks whose thought decides; None: single tasks."""
        from toolrest.world.thought_tasks import Knobs

        if self.tasks == "single":
            return None
        share = 1.0 if self.decided_in_thought is None else self.decided_in_thought
        return Knobs(share, self.idle_sentences or 0)


class Data(Section):
    """Prompts and ground truths."""

    path: str | None = None
    """A file of any format, or a data set on the hub. None: `sources`, or the embedded world."""
    sources: list[DataSource] = Field(default_factory=list)
    """A mixture, in place of `path`."""
    world: World = World()
    """The embedded world's tasks, without `path` and `sources`."""
    prompt: Literal["rlla", "template", "plain"] | None = None
    """How dialogues are worded. None: rlla for the dialect rlla, else the chat template's way; in
    plain words where the template lists no tools or writes another dialect."""
    thoughts: Literal["none", "placeholder", "all"] = "placeholder"
    """What prompts keep of the thoughts of earlier actions."""
    think: bool | None = None
    """Whether a right reply has a thought. None: in the dialect rlla, and where the chat template
    begins one."""
    thought_sentences: int | None = Field(default=None, ge=1)
    """How many sentences of a demonstration's thought are taught, from its start. None: all. Short
    thoughts suit small policies and short responses."""
    template_options: dict[str, str | int | float | bool | None] = Field(default_factory=dict)
    """What the chat template is told, such as `enable_thinking: false`; in training, evaluation and
    the checkpoints' own templates alike."""
    heldout_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the rows that is kept for evaluation."""
    max_prompt_tokens: int = Field(default=1024, ge=1)
    """Rows with longer prompts are left out, counted and named. Unsaid: see `Recipe`."""


class Vllm(Section):
    """vLLM as the sampler; the old policy's log-probabilities correct for what it rounds."""

    mode: Literal["colocate", "server"] = "colocate"
    """colocate: in the training processes, on their GPUs. server: TRL's `trl vllm-serve`."""
    memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of each GPU's memory that a colocated vLLM takes."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that one copy of the policy is spread over."""
    server: str = "http://localhost:8000"
    """Where the server of mode `server` listens."""
    correction: bool = True
    """Whether gradients are corrected by the ratio of the policy's probabilities to vLLM's."""


class Environment(Section):
    """What answers the policy's calls, for training over several turns. Leave `source` out for
    single steps."""

    source: str | None = None
    """FILE.py:NAME of a class, FILE.py of plain functions, http://HOST:PORT of an OpenEnv server,
    `world` (the embedded chains) or `bfcl`. A file is run. None: no environment."""
    train: Literal["trajectories", "steps"] = "trajectories"
    """What the policy is trained on; evaluations play whole episodes with both. trajectories: whole
    episodes. steps: single actions of demonstrated dialogues, each after its history (the paper's
    decomposition), by `reward`. The dialogues are those of the data; `world` has its own."""
    rows: int = Field(default=4096, ge=1)
    """Without data: how many rows {"index": i} episodes are made of. `bfcl` has 640 and trains on
    all of them where this is not said."""
    max_turns: int = Field(default=8, ge=1)
    """Turns of the policy in one episode."""
    max_result_tokens: int = Field(default=256, ge=8)
    """A longer result of a call is cut in the middle, with a mark."""
    max_trajectory_tokens: int = Field(default=2048, ge=2)
    """Tokens of an episode after its prompt, sampled and read. A turn has at most
    `rollout.max_response_tokens` of them."""
    call_timeout: float = Field(default=30.0, gt=0, le=86_400)
    """Seconds that the calls of one turn may take, or the beginning or end of an episode."""
    episode_timeout: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds that the environment may work on one episode in all."""
    workers: int = Field(default=16, ge=1)
    """Episodes whose calls run at the same time, each in a process of its own."""
    max_memory: float = Field(default=4.0, gt=0)
    """GB that an episode's process may grow by."""
    failure: Literal["unscored", "stop"] = "unscored"
    """After an environment that raised, hung or died: leave its episode out; or stop the run."""


class Rollout(Section):
    """How responses are sampled."""

    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts of one generation, and of one optimiser step unless `optimizer.mini_batch` splits
    them. Unsaid: see `Recipe`."""
    group_size: int = Field(default=8, ge=2)
    """Responses to each prompt (G)."""
    branches: int = Field(default=1, ge=1)
    """With `advantage.credit=forks`: responses of a family. The first is sampled from the prompt,
    the others from its tokens before a tool's name or a value begins. `group_size` is a multiple,
    and at least twice that. 1: no group branches."""
    max_response_tokens: int = Field(default=192, ge=1)
    """A response that has not ended by then is truncated. Unsaid: see `Recipe`."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; entropies are those at this temperature."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Tokens are drawn from the likeliest that together have this probability. Below 1, and with
    `top_k` and `min_p`, probability ratios and entropies stay those of all tokens."""
    top_k: int = Field(default=0, ge=0)
    """Tokens are drawn from so many of the likeliest; 0: all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Tokens less likely than this share of the likeliest's probability are not drawn."""
    sampler: Literal["auto", "shared_prefix", "generate", "vllm"] = "auto"
    """shared_prefix: groups share their prompt, for small policies; generate: transformers'; vllm:
    see `vllm`. auto: shared_prefix on a CPU where the policy's attention allows it, else generate;
    vllm with the engine verl."""
    vllm: Vllm = Vllm()
    saved_entropies: bool = False
    """Whether the rollouts that are written have every token's entropy, which costs one more
    forward a generation; schemes that read it anyway have it at no cost."""
    saved_groups: int = Field(default=2, ge=0)
    """Groups a step that are written to the run's rollouts folder."""


class Weighting(Section):
    """Token weights."""

    scheme: str = "rest"
    """rest, official, uniform (GRPO), another scheme of docs/method.md, or a product such as
    `rest*stare`."""
    entropy_source: Literal["online", "static", "exact"] = "online"
    """Of which rollouts region entropies are the average: all so far, moving; the first; these."""
    entropy_decay: float = Field(default=0.9, ge=0, lt=1)
    """Weight of the past in the moving average."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the scheme, such as `curriculum: false`."""
    normalise: Literal["turn", "trajectory"] = "turn"
    """Over what the weights of a response have mean 1, where it has several turns. With turns,
    weights move gradient within a turn, and credit alone between them."""


class Reward(Section):
    """Rule rewards."""

    correctness: dict[str, float] = Field(default_factory=lambda: {"partial": 1.0})
    """Weights of the kinds of correctness: `partial` (the paper's), `exact` and `ast`."""

    @field_validator("correctness", mode="before")
    @classmethod
    def _kinds_alone(cls, value: Any) -> Any:
        """`exact`, `exact,partial` or a list of kinds: each with the weight 1."""
        kinds = texts(value)
        return value if kinds is None else dict.fromkeys(kinds, 1.0)

    normalise_strings: bool = False
    """Whether strings are compared without case and punctuation, as BFCL does."""
    lenient_types: bool = False
    """Whether "5" equals 5."""
    schedule: str = "rest"
    """rest, constant or official: how the ranges of format and correctness move. binary: 1 where
    format and calls are right, else 0 (Tool-N1, with `correctness=exact`)."""
    punish_over_calls: bool = True
    """Whether a call where none is due earns the least correctness."""
    label_noise: float = Field(default=0.0, ge=0, le=1)
    """Share of training responses that earn the correctness of the opposite, 1 - c for c, drawn
    anew for each, to try what methods make of wrong labels. Metrics of the reward's parts, saved
    rollouts and evaluations stay true."""
    by_turns: bool = False
    """With an environment: whether an episode's turns are also scored by these rules against the
    steps of its dialogue, which is added to what the environment gives. The dialogues are those of
    the data; `world` has its own."""
    needless_turn: float = Field(default=0.0, ge=0)
    """With `by_turns`: what a turn costs that is none of the dialogue's steps; the rules' rewards
    go from -3 to 4."""
    function: str | list[str] | None = None
    """FILE.py:NAME of a reward function as TRL takes it, whose rewards are added, or a list of
    such. The files are run."""
    weights: list[float] | None = None
    """With `function`: what the rules' reward, or the environment's, counts, and then each
    function's (TRL's reward_weights). None: each 1."""
    timeout: float = Field(default=600.0, gt=0, le=86_400)
    """Seconds after which a call of `function` has failed."""

    @property
    def functions(self) -> list[str]:
        """Each of `function`."""
        named = self.function
        return [] if named is None else [named] if isinstance(named, str) else named


_BIASED_CREDIT = ("turn", "turn_mean", "turn_index", "per_turn")
"""What others call advantages against the mean of the rows that have such a turn."""


class Advantage(Section):
    """What a response, or a part of it, is credited with."""

    scale: Literal["group", "batch", "none"] = "group"
    """By which standard deviation advantages are divided (TRL's scale_rewards)."""
    credit: Literal["response", "turns", "spans", "forks"] = "response"
    """response, or trajectory: every token gets the whole advantage (GRPO). turns: a token gets
    what its own turn and later ones earn. spans: a token gets what was still undecided when it was
    sampled; see docs/method.md. forks: with `rollout.branches`, a token gets what followed it
    against what followed others at the same place."""
    discount: float = Field(default=1.0, ge=0, le=1)
    """With turns and spans: how much a decision counts for tokens before an earlier one. 1:
    unbiased."""
    filter_groups: bool = False
    """With verl: groups whose responses all earn the same are left out, and others sampled in
    their place (DAPO)."""

    @field_validator("credit", mode="before")
    @classmethod
    def _known_credit(cls, value: Any) -> Any:
        if value in _BIASED_CREDIT:
            raise ValueError(
                "biased: its baseline, the mean of the rows that have such a turn, depends on what "
                "those rows did; `turns` has the mean of the whole group at every turn"
            )
        return "response" if value == "trajectory" else value


class Guards(Section):
    """What follows when something fails or a number cannot be trusted."""

    non_finite: Literal["stop", "skip"] = "stop"
    """After a reward, weight, loss or gradient of NaN or infinity: stop; or leave out the response
    or the step and go on, unless a parameter is. What led to it is in the run's incidents."""
    reward_error: Literal["stop", "skip"] = "stop"
    """After a fault of `reward.function`: stop; or count it as 0 for the generation and go on."""
    warn: bool = True
    """Whether signs of trouble in the metrics are said."""


class Engine(Section):
    """Who runs the training loop, and on what. `engine=verl` is short for `engine.name=verl`."""

    name: Literal["trl", "verl"] = "trl"
    """trl: one machine. verl: one machine of several GPUs, or a cluster."""
    processes: int = Field(default=1, ge=1)
    """Processes on each machine: one a GPU, or any number on a CPU."""
    nodes: int = Field(default=1, ge=1)
    """Machines. With TRL, processes are started on each of them by hand (docs/scaling.md)."""
    sharding: str = "ddp"
    """How TRL's processes share the policy: ddp (a copy each), fsdp, zero2, zero3, or a
    configuration file of accelerate."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of forwards and backwards; parameters of the optimiser are float32. auto:
    bfloat16 on a GPU that computes in it. Unsaid: see `Recipe`."""
    mode: Literal["sync", "colocate_async", "separate_async"] = "sync"
    """verl's trainer: sync samples and trains in turn; the others overlap the two."""
    options: dict[str, Any] = Field(default_factory=dict)
    """verl's own settings by their dotted names, passed on as they are."""
