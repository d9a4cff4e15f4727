"""Makes the built-in corpora, `prompts/corpora/*.jsonl`, from the hand-written parts beside this file.

python prompts/corpora/src/build.py            writes them
python prompts/corpora/src/build.py --check    says whether they are what the parts make
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TARGET = HERE.parent
LANGUAGES = ("en", "zh", "ms", "ta")
AND = {"en": " and ", "zh": "和", "ms": " dan ", "ta": ", "}
COMMA = {"en": ", ", "zh": "、", "ms": ", ", "ta": ", "}
CAPITAL = ("en", "ms")

Texts = dict[str, str]


def texts(source: str) -> Texts:
    parts = source.split("|")
    assert len(parts) == 4, source
    return dict(zip(LANGUAGES, parts, strict=True))


def several(items: list[Texts]) -> Texts:
    return {
        language: AND[language].join(
            part for part in (COMMA[language].join(one[language] for one in items[:-1]), items[-1][language]) if part
        )
        for language in LANGUAGES
    }


def slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.casefold()).split())


# -- recipes -----------------------------------------------------------------------------------------------------


def recipes() -> Iterator[dict[str, Any]]:
    source = yaml.safe_load((HERE / "recipes.yaml").read_text(encoding="utf-8"))
    ingredients = {}
    for key, line in source["ingredients"].items():
        parts = [part.strip() for part in str(line).split("|")]
        kind, swap = ([*parts[5:], "-", "-"])[:2]
        ingredients[key] = (dict(zip(LANGUAGES, parts[:4], strict=True)), parts[4], kind, swap)
    for line in source["dishes"]:
        *names, cuisine, way, meal, main, aromatics, more, sauces, minutes, level = line.split("|")
        assert len(names) == 4, line
        groups = {"m": [main], "a": _keys(aromatics), "x": _keys(more), "s": _keys(sauces)}
        keys = list(dict.fromkeys(key for group in groups.values() for key in group))
        kinds = {ingredients[key][2] for key in keys}
        parts = {mark: several([ingredients[key][0] for key in group]) for mark, group in groups.items() if group}
        steps = [
            {language: _filled(step[language], parts, language) for language in LANGUAGES}
            for step in map(texts, source["ways"][way]["steps"])
            if all(mark in parts for mark in groups if f"{{{mark}}}" in step["en"])
        ]
        question = source["ways"][way]["qa"].split("|")
        swapped = next(key for key in (*keys, "oil") if ingredients[key][3] not in ("-", "")) if any(
            ingredients[key][3] not in ("-", "") for key in keys
        ) else None  # fmt: skip
        swap_from, swap_to = (
            (ingredients[swapped][0], ingredients[ingredients[swapped][3]][0]) if swapped else (ingredients["oil"][0], ingredients["ghee"][0])
        )  # fmt: skip
        yield {
            "id": f"r-{slug(names[0])}", "name": dict(zip(LANGUAGES, names, strict=True)),
            "cuisine": texts(source["cuisines"][cuisine]), "meal": texts(source["meals"][meal]),
            "diet": _listed([texts(source["diets"][one]) for one in _diets(kinds, int(minutes))]),
            "level": texts(source["levels"][{"e": "easy", "m": "medium", "h": "hard"}[level]]),
            "minutes": int(minutes), "timer": source["ways"][way]["timer"], "servings": 4 if way != "drink" else 2,
            "main": ingredients[main][0],
            "ingredients": _listed([
                {language: f"{ingredients[key][1]} {name}" for language, name in ingredients[key][0].items()} for key in keys
            ]),
            "steps": _listed(steps), "question": dict(zip(LANGUAGES, question[:4], strict=True)),
            "answer": dict(zip(LANGUAGES, question[4:], strict=True)), "swap_from": swap_from, "swap_to": swap_to,
        }  # fmt: skip


def _keys(source: str) -> list[str]:
    return [] if source == "-" else source.split(",")


def _filled(text: str, parts: dict[str, Texts], language: str) -> str:
    filled = text.format_map({mark: part[language] for mark, part in parts.items()})
    return filled[:1].upper() + filled[1:] if language in CAPITAL else filled


def _listed(items: list[Texts]) -> dict[str, list[str]]:
    return {language: [item[language] for item in items] for language in LANGUAGES}


def _diets(kinds: set[str], minutes: int) -> list[str]:
    found = []
    if not kinds & {"meat", "fish"}:
        found.append("vegetarian" if kinds & {"egg", "milk"} else "vegan")
    if "meat" in kinds:
        found.append("meat")
    if "fish" in kinds:
        found.append("seafood")
    if "milk" not in kinds and "vegan" not in found:
        found.append("dairy_free")
    return [*found, "quick"] if minutes <= 25 else found


# -- products ----------------------------------------------------------------------------------------------------


def products() -> Iterator[dict[str, Any]]:
    source = yaml.safe_load((HERE / "products.yaml").read_text(encoding="utf-8"))
    number = 0
    for group in source["groups"].values():
        for line in group["kinds"]:
            *names, low, high, sizes = line.split("|")
            kind = dict(zip(LANGUAGES, names, strict=True))
            for size_place, size in enumerate(sizes.split(";")):
                for turn in range(2):
                    number += 1
                    yield _product(group, source["colours"], kind, int(low), int(high), size, size_place, turn, number)


def _product(
    group: dict[str, Any],
    colours: dict[str, str],
    kind: Texts,
    low: int,
    high: int,
    size: str,
    place: int,
    turn: int,
    number: int,
) -> dict[str, Any]:
    brands, features, questions = group["brands"], [texts(one) for one in group["features"]], group["qa"]
    brand = brands[(place + turn + number // 6) % len(brands)]
    colour = texts(colours[group["colours"][(place * 2 + turn + number // 6) % len(group["colours"])]])
    first, second = features[(number + turn) % 4], features[(number + turn + 1 + number // 6 % 2) % 4]
    # larger sizes and the second brand cost more; the digits of the number keep prices apart
    share = (place * 2 + turn) / 5
    price = max(low, min(high, round(low + (high - low) * share * 0.8 + (number * 7 % 11) - 3)))
    question = questions[number % len(questions)].split("|")
    return {
        "id": f"p-{number:03d}", "name": {language: f"{brand} {kind[language]} {size}" for language in LANGUAGES},
        "kind": kind, "category": texts(group["name"]), "brand": brand, "size": size, "colour": colour,
        "price": price - 0.1 if number % 3 else price, "rating": 3.6 + (number * 5 % 14) / 10, "sold": 20 + number * 37 % 900,
        "feature": first,
        "description": {
            language: _sentence([kind[language], brand, size, colour[language]], [first[language], second[language]], language)
            for language in LANGUAGES
        },
        "question": dict(zip(LANGUAGES, question[:4], strict=True)), "answer": dict(zip(LANGUAGES, question[4:], strict=True)),
    }  # fmt: skip


def _sentence(head: list[str], more: list[str], language: str) -> str:
    stop = "。" if language == "zh" else ". "
    sentences = [COMMA[language].join(head), *more]
    return (stop.join(one[:1].upper() + one[1:] for one in sentences) + stop).strip()


def written(rows: Iterator[dict[str, Any]]) -> str:
    found = list(rows)
    for row in found:
        for field, value in row.items():
            if isinstance(value, float):
                row[field] = round(value, 2)
    ids = [row["id"] for row in found]
    assert len(set(ids)) == len(ids), "an id is there twice"
    assert len({row["name"]["en"] + str(row.get("colour")) for row in found}) == len(found), "a name is there twice"
    return "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in found)


def main() -> int:
    made = {"recipes.jsonl": written(recipes()), "products.jsonl": written(products())}
    if "--check" in sys.argv[1:]:
        stale = [name for name, text in made.items() if (TARGET / name).read_text(encoding="utf-8") != text]
        print(
            f"stale: {', '.join(stale)}; run python prompts/corpora/src/build.py"
            if stale
            else "both are what the parts make"
        )
        return 1 if stale else 0
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        (TARGET / name).write_text(text, encoding="utf-8")
        print(f"{name}: {len(text.splitlines())} documents, {len(text.encode()):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
