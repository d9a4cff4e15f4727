"""From a run's settings to its plans: which prompts, how many, which part of each grid."""

from collections.abc import Sequence

from curation.errors import InputError, did_you_mean
from synth import targets
from synth.config import RunSettings
from synth.plan import Plan, Value
from synth.prompts import Prompt, load
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
    chosen = [_plan(load(name, settings.prompts_dir), n, settings) for name, n in wanted.items()]
    same = {plan.prompt.fingerprint: plan.prompt for plan in chosen}
    for plan in chosen:
        if (other := same[plan.prompt.fingerprint]) is not plan.prompt:
            raise InputError(f"{plan.prompt.path} and {other.path} ask the same; run one of them, or change its words")
    return chosen


def _plan(prompt: Prompt, n: int, settings: RunSettings) -> Plan:
    for language in settings.language:
        if language not in prompt.language:
            hint = did_you_mean(language, prompt.language)
            raise InputError(f"language={language}: prompt {prompt.name!r} is not written for it.{hint}")
    axes = dict(prompt.axes)
    for name, values in settings.axes.items():
        axes[name] = _chosen(prompt, name, values)
    return Plan(
        prompt=prompt,
        n=n,
        languages=tuple(dict.fromkeys(settings.language)) or prompt.language,
        axes=axes,
        per_request=settings.per_request or prompt.per_request,
        seed=settings.seed,
    )


def _chosen(prompt: Prompt, axis: str, given: Sequence[Value]) -> tuple[Value, ...]:
    if axis not in prompt.axes:
        raise InputError(f"axes.{axis}: prompt {prompt.name!r} has no such axis.{did_you_mean(axis, prompt.axes)}")
    if not given:
        raise InputError(f"axes.{axis}: name one value or more, e.g. axes.{axis}=[{prompt.axes[axis][0]}]")
    known = {str(value): value for value in prompt.axes[axis]}
    for value in map(str, given):
        if value not in known:
            raise InputError(f"axes.{axis}: no value {value!r}.{did_you_mean(value, known)}")
    return tuple(known[value] for value in dict.fromkeys(map(str, given)))
