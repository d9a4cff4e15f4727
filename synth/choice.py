"""From a run's settings to its plans: which prompts, how many, which part of each grid."""

from collections.abc import Collection, Mapping, Sequence

from curation.errors import InputError, did_you_mean
from curation.shelf import documents
from synth import targets
from synth.config import RunSettings
from synth.dialogue_prompt import GraphPrompt
from synth.grounding import check_images, groundings
from synth.plan import Plan, Value
from synth.programs.base import AnyPrompt
from synth.prompts import Written, load
from synth.session import existing_store
from synth.sop_prompts import Grounding, SopPrompt, bound
from synth.suites import load_suite


def plans(settings: RunSettings) -> list[Plan]:
    """One plan for each prompt that the settings name.

    Raises:
        InputError: nothing or too much was named, or a prompt, language, axis or value does not exist.
    """
    if settings.suite is not None and settings.prompt:
        raise InputError("give prompt=... or suite=..., not both")
    if settings.targets is not None:
        if settings.suite is not None or settings.prompt:
            raise InputError("targets=... chooses the prompts; leave prompt and suite out")
        return targets.plans(settings, settings.targets)
    if settings.suite is not None:
        wanted = load_suite(settings.suite, settings.prompts_dir)
    elif settings.prompt:
        wanted = dict.fromkeys(settings.prompt, settings.n)
    else:
        raise InputError("say what to run: prompt=general_ok, or suite=moderation (`synth ls` lists both)")
    loaded = {name: _set_up(load(name, settings.prompts_dir), settings) for name in wanted}
    grounded = _groundings(loaded.values(), settings)
    loaded = {name: _on_its_sop(prompt, settings, grounded) for name, prompt in loaded.items()}
    chosen = [_plan(loaded[name], n, settings, grounded) for name, n in wanted.items()]
    same = {plan.prompt.fingerprint: plan.prompt for plan in chosen}
    for plan in chosen:
        if (other := same[plan.prompt.fingerprint]) is not plan.prompt:
            raise InputError(f"{plan.prompt.path} and {other.path} ask the same; run one of them, or change its words")
    return chosen


def _set_up(prompt: Written, settings: RunSettings) -> Written:
    """A prompt for dialogues, as this run wants it: which graph, which corpus, who plays the user."""
    wanted = {
        name: getattr(settings, name) for name in ("graph", "steer", "corpus", "user_model", "retriever", "embedder")
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    if isinstance(prompt, GraphPrompt):
        if len(settings.models) > 1 and "model" in prompt.axes:
            raise InputError(f"{prompt.path}: axes.model: the name is taken by models=; call the axis otherwise")
        return prompt.set_up(given)
    if given or len(settings.models) > 1:
        name = next(iter(given), "models")
        raise InputError(f"{name}: is for dialogues along a graph, and prompt {prompt.name!r} is none; leave it out")
    return prompt


def _groundings(loaded: Collection[Written], settings: RunSettings) -> dict[str, Grounding]:
    """What the documents of a run hold, where a prompt rests on documents."""
    resting = [prompt for prompt in loaded if isinstance(prompt, SopPrompt)]
    driven = [prompt for prompt in loaded if isinstance(prompt, GraphPrompt) and prompt.plot.document]
    if not resting and not (driven and settings.documents):
        if settings.documents:
            raise InputError(f"documents: prompt {next(iter(loaded)).name!r} rests on none; leave documents out")
        return {}
    if settings.per_request not in (None, 1):
        raise InputError(
            f"per_request={settings.per_request}: prompt {(resting or driven)[0].name!r} writes one example at a time; leave it out"
        )
    found = groundings(settings, settings.documents)
    for prompt in driven:
        if not resting and (wanted := prompt.plot.document) not in found:
            raise InputError(
                f"documents: prompt {prompt.name!r} follows {wanted!r}, which is not among {', '.join(found)}.{did_you_mean(wanted, found)}"
            )
    return found


def _on_its_sop(prompt: Written, settings: RunSettings, grounded: Mapping[str, Grounding]) -> Written:
    """A prompt whose graph follows an SOP, with the SOP's outline, where the run or the workspace has the document."""
    if not isinstance(prompt, GraphPrompt) or not (name := prompt.plot.document) or prompt.baseline:
        return prompt
    if (grounding := grounded.get(name)) is not None:
        return prompt.set_up({"outline": grounding.outline})
    if (store := existing_store(settings)) is None or not documents(store, "name = ?", [name]):
        return prompt
    return prompt.set_up({"outline": groundings(settings, [name])[name].outline})


def _plan(prompt: Written, n: int, settings: RunSettings, grounded: Mapping[str, Grounding]) -> Plan:
    for language in settings.language:
        if language not in prompt.language:
            hint = did_you_mean(language, prompt.language)
            raise InputError(f"language={language}: prompt {prompt.name!r} is not written for it.{hint}")
    languages = tuple(dict.fromkeys(settings.language)) or prompt.language
    asked: AnyPrompt = bound(prompt, grounded, languages) if isinstance(prompt, SopPrompt) else prompt
    axes = dict(asked.axes)
    for name, values in settings.axes.items():
        axes[name] = _chosen(asked, name, values)
    if isinstance(prompt, SopPrompt) and "image" in axes["pages"] and settings.provider != "offline":
        for grounding in grounded.values():
            check_images(grounding)
    if len(settings.models) > 1:
        axes["model"] = tuple(settings.models)
    return Plan(
        prompt=asked,
        n=n,
        languages=languages,
        axes=axes,
        per_request=settings.per_request or asked.per_request,
        seed=settings.seed,
    )


def _chosen(prompt: AnyPrompt, axis: str, given: Sequence[Value]) -> tuple[Value, ...]:
    if axis not in prompt.axes:
        raise InputError(f"axes.{axis}: prompt {prompt.name!r} has no such axis.{did_you_mean(axis, prompt.axes)}")
    if not given:
        raise InputError(f"axes.{axis}: name one value or more, e.g. axes.{axis}=[{prompt.axes[axis][0]}]")
    known = {str(value): value for value in prompt.axes[axis]}
    for value in map(str, given):
        if value not in known:
            raise InputError(f"axes.{axis}: no value {value!r}.{did_you_mean(value, known)}")
    return tuple(known[value] for value in dict.fromkeys(map(str, given)))
