"""Writes sources into one parquet file for training, with a manifest of their origin."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from toolrest.data.decompose import Rendering
from toolrest.data.findings import NO_LIMITS, REFUSED, Checker, Finding, Limits
from toolrest.data.sample import Sample
from toolrest.data.sources import Read, Sift, Skipped, Source, answers_beside, iterate_samples
from toolrest.errors import InputError
from toolrest.io.files import only_one, sha256_of, sync_file, write_json
from toolrest.io.redaction import refuse_keys_of

_BATCH = 1000


def manifest_path(output: Path) -> Path:
    """The manifest's path of a prepared file."""
    return output.with_name(output.name + ".manifest.json")


@dataclass(frozen=True)
class Options:
    """What `prepare` leaves out, and what the manifest keeps beside the rows' origin."""

    drop: Collection[str] = ()
    """The kinds of findings (see `toolrest.data.findings`) that are left out."""
    limits: Limits = NO_LIMITS
    """What else is looked for. With a `length`, a sample whose prompt the template refuses
    (`TemplateRefusal`) is left out, whatever `drop` says.
    """
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """What else the rows depend on."""


_DEFAULTS = Options()


def prepare(
    sources: Sequence[Source],
    rendering: Rendering,
    output: Path,
    seed: int,
    on_sample: Callable[[int], object] = lambda count: None,
    options: Options = _DEFAULTS,
) -> dict[str, Any]:
    """Write the samples of all sources to one file, atomically; return the manifest.

    The columns are those of RLLA's parquet, which verl reads too, and `dialect`, `wording` (JSON,
    see `Sample.worded`), `tools`, `messages` (JSON, where a prompt holds calls) and
    `demonstration`.

    Args:
        on_sample: called with the number of samples now and then.
        options: what is left out.

    Returns:
        The manifest, which is written beside the file: sources with their hashes, rows left out by
        reason, samples, seed, and how prompts are written.

    Raises:
        InputError: a source cannot be read, nothing is left, or the file cannot be written.
    """
    if output.suffix != ".parquet":
        raise InputError(f"{output}: the output must end with .parquet")
    for source in sources:
        if output.exists() and Path(source.path).exists() and output.samefile(source.path):
            raise InputError(f"{output}: the output would overwrite a source")
    limits, drop = options.limits, options.drop
    checker = Checker(rendering.dialect, limits)
    skipped = {number: Skipped() for number in range(len(sources))}
    counts = [0] * len(sources)
    part = output.with_name(output.name + ".part")
    busy = f"{output}: another toolrest data prepare is writing it; wait for it"

    def samples() -> Iterator[Sample]:
        for number, source in enumerate(sources):
            sift = _sift(checker, drop, source.path) if drop or limits.length is not None else None
            for sample in iterate_samples(source, rendering, seed, skipped[number], sift):
                counts[number] += 1
                yield sample

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with only_one(part, busy):
            try:
                _write(part, samples(), rendering.dialect, on_sample)
                if not sum(counts):
                    raise InputError(_nothing(sources, skipped))
                manifest = {
                    "output": output.name,
                    "sha256": sha256_of(part),
                    "samples": sum(counts),
                    "seed": seed,
                    "drop": sorted(drop),
                    "max_prompt_tokens": limits.max_prompt_tokens,
                    "made_by": dict(options.made_by),
                    "rendering": _rendering(rendering),
                    "sources": [
                        _described(source, counts[number], skipped[number])
                        for number, source in enumerate(sources)
                    ],
                }
                _put_in_place(part, output, manifest)
            finally:
                with suppress(OSError):
                    part.unlink()
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror or error}") from error
    return manifest


def _put_in_place(part: Path, output: Path, manifest: dict[str, Any]) -> None:
    """Move rows, then manifest, into place, so that a manifest always matches its rows.

    Between the two there are rows without a manifest: whole, and written again by the same command.
    """
    for left in output.parent.glob(
        f"{manifest_path(output).name}.*.part"
    ):  # of one that was killed
        left.unlink()
    manifest_path(output).unlink(missing_ok=True)
    part.replace(output)
    write_json(manifest_path(output), manifest)


def _rendering(rendering: Rendering) -> dict[str, Any]:
    """How prompts are written; what is open is settled in a file."""
    made = asdict(rendering)
    del made["open"]
    return made


def _described(source: Source, samples: int, skipped: Skipped) -> dict[str, Any]:
    return asdict(source) | {
        "sha256": _hash(Path(source.path)),
        "answers_sha256": _hash(answers_beside(source.path)),
        "samples": samples,
        "left_out": dict(skipped.reasons),
        "left_out_rows": skipped.rows,
    }


def _sift(checker: Checker, drop: Collection[str], path: str) -> Sift:
    """A filter that drops samples with defects of the kinds `drop`."""
    checker.begin()

    def sift(read: Read) -> Iterator[tuple[str, Sample, str | None]]:
        found = [each for each in checker.look(read, path) if each.kind in (REFUSED, *drop)]
        for number, sample in enumerate(read.samples):
            mine = next((each for each in found if each.sample in (None, number)), None)
            yield read.row(number), sample, None if mine is None else _reason(mine)

    return sift


def _reason(finding: Finding) -> str:
    return f"{REFUSED}: {finding.detail}" if finding.kind == REFUSED else finding.kind


def _nothing(sources: Sequence[Source], skipped: dict[int, Skipped]) -> str:
    reasons = [
        f"{sources[number].path}: {count} rows: {reason} (row {found.rows[reason][0]})"
        for number, found in skipped.items()
        for reason, count in found.reasons.most_common(1)
    ]
    return "no sample is left" + (f"; {'; '.join(reasons)}" if reasons else "")


def _write(
    path: Path, samples: Iterator[Sample], dialect: str, on_sample: Callable[[int], object]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            (
                "reward_model",
                pa.struct([("ground_truth", pa.string()), ("style", pa.string())]),
            ),
            (
                "extra_info",
                pa.struct(
                    [("index", pa.int64()), ("identity", pa.string()), ("group", pa.string())]
                ),
            ),
            ("dialect", pa.string()),
            ("wording", pa.string()),
            ("tools", pa.string()),
            ("messages", pa.string()),
            ("true_names", pa.string()),
            ("declared", pa.string()),
            ("demonstration", pa.string()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        count = 0
        for sample in samples:
            row = _row(sample, dialect, count)
            refuse_keys_of(row, f"{path.stem}, from {sample.source}, row {sample.row}")
            batch.append(row)
            count += 1
            if len(batch) == _BATCH:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch.clear()
                on_sample(count)
        if batch:
            writer.write_table(pa.Table.from_pylist(batch, schema))
        on_sample(count)
    sync_file(path)


def _row(sample: Sample, dialect: str, index: int) -> dict[str, Any]:
    plain = all(set(message) == {"role", "content"} for message in sample.prompt)
    return {
        "data_source": sample.source,
        "prompt": [
            {"role": message["role"], "content": message.get("content") or ""}
            for message in sample.prompt
        ],
        "reward_model": {"ground_truth": sample.ground_truth, "style": "rule"},
        "extra_info": {"index": index, "identity": sample.identity, "group": sample.group},
        "dialect": dialect,
        "wording": None if sample.worded is None else _json(sample.worded),
        "tools": None if sample.tools is None else _json(sample.tools),
        "messages": None if plain else _json(sample.prompt),
        "true_names": None if sample.true_names is None else _json(sample.true_names),
        "declared": _json(sample.declared) if sample.declared else None,
        "demonstration": sample.demonstration,
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _hash(path: Path | None) -> str | None:
    return sha256_of(path) if path is not None and path.is_file() else None
