"""The `synth` command."""

import sys

from curation.commands import Command, main

COMMANDS = {
    "run": Command(
        "Fill prompts with accepted examples; run again to go on where it stopped.",
        "synth.config:RunSettings", "synth.show_run:run_command", "prompt", "synth run prompt=general_ok n=500",
    ),
    "ls": Command("List prompts and suites.", "synth.config:LibrarySettings", "synth.show_library:ls_command"),
    "show": Command(
        "Show a prompt: its grid, its messages, and a few offline examples.",
        "synth.config:ShowSettings", "synth.show_library:show_command", "prompt", "synth show meme_ok samples=5",
    ),
    "coverage": Command(
        "Say what dialogues have covered of their graph: states, transitions, paths.",
        "synth.config:CoverageSettings", "synth.show_graph:coverage_command", "prompt", "synth coverage recipe",
    ),
    "cp": Command(
        "Copy a prompt into your own folder to edit it.",
        "synth.config:CopySettings", "synth.show_library:cp_command", "prompt", "synth cp general_ok to=prompts",
    ),
    "check": Command(
        "Check prompt files without running them.",
        "synth.config:CheckSettings", "synth.show_library:check_command", "prompt",
    ),
    "estimate": Command(
        "Say what a run would ask, cost and take, before it is run.",
        "synth.config:EstimateSettings", "synth.show_estimate:estimate_command", "prompt", "synth estimate suite=moderation",
    ),
    "render": Command(
        "Take documents in: page images, and text with its headings, steps and tables.",
        "synth.config:RenderSettings", "synth.show_render:render_command", "documents", "synth render docs/examples/sops",
    ),
    "outline": Command(
        "Show the outline of an SOP, by rule or read by a model; write it down to edit, and take it back.",
        "synth.config:OutlineSettings", "synth.show_outline:outline_command", "documents",
        "synth outline returns_abuse to=outlines",
    ),
    "translate": Command(
        "Translate examples into other languages, labels and all; run again to go on where it stopped.",
        "synth.config:TranslateSettings", "synth.show_translate:translate_command", "to", "synth translate to=[zh,ms,ta]",
    ),
    "batches": Command(
        "List the batches that providers have of ours, cancel one, or fetch what is done.",
        "synth.config:BatchesSettings", "synth.show_batches:batches_command", None, "synth batches fetch=all",
    ),
    "judge": Command(
        "Have a model judge examples by a rubric; run again to go on where it stopped.",
        "synth.config:JudgeSettings", "synth.show_judge:judge_command", "prompt",
        "synth judge judge_moderation provider=anthropic model=claude-opus-5 n=200",
    ),
    "answer": Command(
        "Ask a provider's model the questions of an evaluation: a baseline for `train eval`.",
        "synth.config:AnswerSettings", "synth.show_judge:answer_command", "evaluation",
        "synth answer evaluations/ID provider=anthropic model=claude-haiku-5-5",
    ),
}  # fmt: skip


def app() -> None:
    """Entry point of the console script."""
    sys.exit(main("synth", "Synthesise examples from prompts, into the workspace's store.", COMMANDS))
