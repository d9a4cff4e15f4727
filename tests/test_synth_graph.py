"""Dialogue graphs as files: what is read, what is refused and where, what is proved."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.errors import InputError
from synth.chain import Chain
from synth.corpora import CorpusSource, load_corpus
from synth.graph import Graph
from synth.memory import Flag, Items, Memory, Number, OutOfBounds, Word
from synth.prompts import read
from synth.retrieve import Retriever, tokens

MEMORY = Memory(
    {
        "cart": Items(items="shop", most=2),
        "step": Number(number=(0, 3)),
        "paid": Flag(flag=False),
        "phase": Word(words=("shop", "done"), start="shop"),
    },
    ["golden"],
)
EMPTY = (0, 0, False, "shop")

TINY: dict[str, Any] = {
    "description": "Two people and a cart, for tests.",
    "max_turns": 8,
    "start": {"ask": 1},
    "corpora": {"shop": {"path": "shop.csv", "fields": ["name", "price"], "text": ["name"]}},
    "cards": {"shop": {"en": "{name} at {price:.2f}"}},
    "memory": {"cart": {"items": "shop", "most": 2}, "found": {"items": "shop", "most": 2}},
    "states": {
        "ask": {"who": "user", "about": "Ask.", "when": "found == 0", "draw": {"golden": "shop - cart"}, "slots": {"thing": "golden.name", "budget": "above(golden.price)"}, "next": {"show": 1}},
        "show": {"who": "system", "about": "Show {{ listing }}", "retrieve": {"golden": "golden", "show": 2}, "then": ["found = found"], "show": {"listing": "lines(found)"}, "cites": ["found"], "next": {"buy": 2, "leave": 1}},
        "buy": {"who": "user", "about": "Buy.", "when": "found >= 1 and cart < 2", "slots": {"thing": "golden.name"}, "next": {"sold": 1}},
        "sold": {"who": "system", "about": "Sold for {{ total }}", "then": ["cart += golden", "found = []"], "show": {"total": "total(cart.price)"}, "cites": ["golden"], "next": {"ask": 1, "leave": 1}},
        "leave": {"who": "user", "about": "Leave.", "next": {"bye": 1}},
        "bye": {"who": "system", "about": "Goodbye.", "end": True},
    },
    "simulators": {"user": "You are a customer.", "system": "You are a shop.", "turn": "{{ conversation }} {{ about }} {{ details }} {{ format_instructions }}"},
    "offline": {"en": {"ask": ["A {thing} under {budget}?", "Any {thing} for {budget}?"], "show": "{listing}", "buy": "The {thing}.", "sold": "That is {total}.", "leave": "No more, thanks.", "bye": "Goodbye then."}},
}  # fmt: skip
PROMPT = {
    "task": "dialogue", "program": "graph", "description": "A tiny shop, for tests.", "graph": "tiny",
    "axes": {"mood": ["glad", "cross"]}, "language": ["en"], "system": "Write.", "user": "{{ states }} {{ documents }} {{ format_instructions }}",
}  # fmt: skip
SHOP = "id,name,price\na,red kettle,12.5\nb,blue kettle,18\nc,green lamp,30\nd,red lamp,8\n"


def write(folder: Path, graph: dict[str, Any] | None = None) -> Path:
    """The prompt file of a tiny shop, with its graph and corpus beside it."""
    (folder / "dialogue").mkdir(parents=True, exist_ok=True)
    (folder / "dialogue" / "shop.csv").write_text(SHOP, encoding="utf-8")
    (folder / "dialogue" / "tiny.yaml").write_text(yaml.safe_dump(graph or TINY, sort_keys=False), encoding="utf-8")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(PROMPT, sort_keys=False), encoding="utf-8")
    return folder / "tiny.yaml"


def changed(path: str, value: Any) -> dict[str, Any]:
    graph = copy.deepcopy(TINY)
    part: Any = graph
    *keys, last = path.split(".")
    for key in keys:
        part = part[key]
    if value is None:
        del part[last]
    else:
        part[last] = value
    return graph


@pytest.mark.parametrize(
    ("guard", "memory", "holds"),
    [
        ("cart >= 1", EMPTY, False),
        ("cart >= 1", (1, 0, False, "shop"), True),
        ("step + 1 < 3 and not paid", EMPTY, True),
        ("phase == 'done' or (step == 0 and cart != 2)", EMPTY, True),
        ("paid == true", (0, 0, True, "shop"), True),
        ("-step <= 0", EMPTY, True),
    ],
)
def test_guards_hold_or_not(guard: str, memory: tuple[Any, ...], holds: bool) -> None:
    assert MEMORY.guard(guard).holds(memory) is holds


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ("basket >= 1", "'basket' is not in the memory"),
        ("cart", "this is a number"),
        ("cart == 'shop'", "cannot be compared"),
        ("phase == 'don'", "Did you mean 'done'?"),
        ("phase == done", "quote it: 'done'"),
        ("phase < 'done'", "only numbers"),
        ("cart >= ", "cannot be read"),
        ("__import__('os').system('true')", "is not allowed"),
        ("cart.__class__ == 1", "is not allowed"),
        ("[1 for _ in cart]", "is not allowed"),
        ("(lambda: 1)() == 1", "is not allowed"),
        ("cart * 9 > 1", "is not allowed"),
        ("9 ** 9 ** 9 > 1", "is not allowed"),
        ("1 < cart < 3", "is not allowed"),
        ("paid + 1 > 1", "expected a number"),
        ("True", "write true"),
        ("not " * 200 + "paid", "over 300 characters"),
        ("(" * 140 + "paid", "cannot be read"),
    ],
)
def test_anything_else_than_a_condition_is_refused(guard: str, says: str) -> None:
    with pytest.raises(InputError, match="^.*" + says.replace("(", r"\(").replace("[", r"\[")):
        MEMORY.guard(guard)


def test_effects_change_the_memory_and_stay_in_bounds() -> None:
    effects = [
        MEMORY.effect(text)
        for text in ("cart += golden", "step = cart + 1", "step -= 1", "paid = step == 1", "phase = 'done'")
    ]
    assert MEMORY.after(EMPTY, effects) == (1, 1, True, "done")
    assert MEMORY.after((2, 0, False, "shop"), [MEMORY.effect("cart = []")])[0] == 0
    assert MEMORY.after((2, 0, False, "shop"), [MEMORY.effect("cart -= 1")])[0] == 1
    assert MEMORY.after(EMPTY, [MEMORY.effect("cart = found", 2)])[0] == 2
    with pytest.raises(OutOfBounds, match="takes cart to 3, out of 0 to 2"):
        MEMORY.after((2, 0, False, "shop"), [MEMORY.effect("cart += golden")])
    for text, says in (
        ("cart = 2", "a list takes"), ("cart += 1", "a list takes"), ("cart += silver", "no state draws 'silver'"),
        ("cart = found", "nothing is found here"), ("phase = 'gone'", "no word of phase"), ("paid = 1", "is a flag"),
        ("paid += true", "is a flag"), ("stop = 1", "Did you mean 'step'?"), ("step = step = 1", "one assignment"),
        ("cart", "one assignment"), ("step = 1; paid = true", "one assignment"), ("import os", "one assignment"),
        ("cart[0] = 1", "is not in the memory"),
    ):  # fmt: skip
        with pytest.raises(InputError) as error:
            MEMORY.effect(text)
        assert says in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("states.buy.when", "found >= one", "states.buy.when: 'found >= one': 'one' is not in the memory"),
        ("states.sold.then", ["cart += golden", "found = 3"], "states.sold.then.1: 'found = 3': a list takes"),
        ("states.buy.next", {"sould": 1}, "states.buy.next.sould: no state 'sould'. Did you mean 'sold'?"),
        ("states.buy.next", {"leave": 1}, "buy and leave are both the user's"),
        ("states.buy.next", "menu", "no menu 'menu'"),
        ("states.bye.next", {"ask": 1}, "bye ends the dialogue and yet goes on"),
        ("states.bye.end", None, "bye has no next state"),
        ("states.ask.slots.thing", "golden.nam", "golden has no field 'nam'. Did you mean 'name'?"),
        ("states.ask.draw", {"golden": "store"}, "'store' is no corpus, table or list"),
        ("states.show.retrieve.golden", "silver", "no state draws 'silver'"),
        ("states.show.retrieve.within", {"limit": "price"}, "no state has a slot 'limit'"),
        ("states.ask.retrieve", {"golden": "golden"}, "only the system retrieves"),
        ("states.show.show", {"listing": "basket.name"}, "no state draws 'basket'"),
        ("start", {"sold": 1}, "starts with a state of the user's"),
        ("memory.cart.items", "store", "memory.cart: no corpus 'store'"),
        ("states.ask.some", [3, 4], "3 to 4 of 2 slots"),
        ("states.sold.about", "Sold for {{ price }}", "{{ price }} is not defined"),
        ("offline.en.buy", "The {colour}.", "colour"),
        ("offline.en.bye", None, "nothing is said in bye"),
        ("cards", {}, "cards.shop is missing"),
        ("states.ask.slots", {"thing": "golden.name", "mood": "golden.name"}, "'mood' is taken"),
        ("max_turns", 1, "max_turns"),
        ("colour", "red", "unknown key 'colour'"),
    ],
)
def test_a_broken_file_names_file_line_and_field(tmp_path: Path, path: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        read(write(tmp_path, changed(path, value)))
    message = str(error.value)
    assert says in message
    assert "tiny.yaml" in message
    assert "\n" not in message


def test_the_line_is_the_fields_own(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(write(tmp_path, changed("states.buy.when", "found >= one")))
    lines = (tmp_path / "dialogue" / "tiny.yaml").read_text(encoding="utf-8").splitlines()
    assert f"tiny.yaml:{next(i for i, line in enumerate(lines, 1) if 'found >= one' in line)}:" in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("states.leave.when", "cart >= 5 - 2", "no walk can reach leave"),
        ("states.buy.when", "found >= 1", "takes cart to 3, out of 0 to 2, coming from buy"),
        ("states.leave.when", "cart == 1", "no end can be reached from"),
        ("max_turns", 3, "is too few: the shortest walk from a start has 4"),
        ("max_turns", 4, "no walk of 4 turns comes to buy; allow more turns"),
        ("states.ask.when", "found >= 1", "no start is allowed"),
    ],
)
def test_what_is_proved_of_a_graph(tmp_path: Path, path: str, value: Any, says: str) -> None:
    with pytest.raises(InputError) as error:
        read(write(tmp_path, changed(path, value))).chain  # type: ignore[union-attr]  # noqa: B018
    assert says in str(error.value)
    assert "dialogue/tiny.yaml:" in str(error.value)


def test_expected_visits_equal_those_worked_by_hand(tmp_path: Path) -> None:
    """ask, show, then buy with 2/3; sold, then ask or leave, 1/2 each; with a second thing in the cart, buy is closed: the walk
    of 8 turns has no time for a third search either."""
    prompt = read(write(tmp_path, changed("max_turns", 12)))
    rates = prompt.chain.rates  # type: ignore[union-attr]
    # the third search (2/3 * 1/2 * 2/3 * 1/2 = 1/9) would need 12 turns: ask show buy sold, twice, ask show leave bye
    assert rates.states["ask"] == pytest.approx(1 + 1 / 3 + 1 / 9)
    assert rates.states["sold"] == pytest.approx(2 / 3 + 2 / 9)
    assert rates.states["leave"] == pytest.approx(1)
    assert rates.lengths == pytest.approx({4: 1 / 3, 6: 1 / 3, 8: 1 / 9, 10: 1 / 9, 12: 1 / 9})
    shorter = read(write(tmp_path)).chain.rates  # type: ignore[union-attr]  # of 8 turns: after the second show there is only leave
    assert shorter.lengths == pytest.approx({4: 1 / 3, 6: 1 / 3, 8: 1 / 3})
    assert shorter.states["sold"] == pytest.approx(2 / 3)


def test_a_corpus_is_read_from_csv_jsonl_and_parquet_by_its_columns(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = CorpusSource(path=Path("none.jsonl"), fields=("name", "price", "tags"), text=("name",))
    (tmp_path / "own.csv").write_text("sku,title,cost,tags\nx,pan,9.5,big|red\ny,pot,12,small\n", encoding="utf-8")
    (tmp_path / "own.jsonl").write_text('{"title": "pan", "cost": 9.5, "tags": ["big", "red"]}\n', encoding="utf-8")
    pq.write_table(pa.table({"title": ["pan"], "cost": [9.5], "tags": [["big", "red"]]}), tmp_path / "own.parquet")
    columns = {"name": "title", "price": "cost", "id": "sku"}
    for suffix in ("csv", "jsonl", "parquet"):
        given = columns if suffix == "csv" else {"name": "title", "price": "cost"}
        document = load_corpus("shop", source, tmp_path, tmp_path / f"own.{suffix}", given).documents("ta")[0]
        assert (document["name"], document["price"], document["tags"]) == ("pan", 9.5, ["big", "red"])
    with pytest.raises(InputError, match=r"no column 'price' for price; say which it is: corpus.columns.price=COLUMN"):
        load_corpus("shop", source, tmp_path, tmp_path / "own.csv", {"name": "title"})
    with pytest.raises(InputError, match=r"the graph has no such field\. Did you mean 'name'"):
        load_corpus("shop", source, tmp_path, tmp_path / "own.csv", {"nam": "title"})
    (tmp_path / "gap.csv").write_text("name,price,tags\npan,,a|b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row .*: price is empty"):
        load_corpus("shop", source, tmp_path, tmp_path / "gap.csv")
    (tmp_path / "twice.csv").write_text("id,name,price,tags\n1,pan,2,a|b\n1,pot,3,c\n", encoding="utf-8")
    with pytest.raises(InputError, match="the id '1' is there twice"):
        load_corpus("shop", source, tmp_path, tmp_path / "twice.csv")
    with pytest.raises(InputError, match="no such file"):
        load_corpus("shop", source, tmp_path, tmp_path / "missing.csv")


@pytest.mark.parametrize("language", ["en", "zh", "ms", "ta"])
def test_a_documents_own_name_finds_it(language: str) -> None:
    for name in ("recipe", "ecommerce"):
        prompt = read(Path(__file__).parent.parent / "prompts" / f"{name}.yaml")
        corpus = next(iter(prompt.corpora.values()))  # type: ignore[union-attr]
        documents = corpus.documents(language)
        search = Retriever(corpus, language)
        found = [
            document in search.search(str(document["name"]))[:5]
            for document in documents[:: max(1, len(documents) // 40)]
        ]
        assert sum(found) / len(found) >= 0.95


def test_words_of_four_languages() -> None:
    assert tokens("Two Mugs, 350 ml!") == ["two", "mug", "350", "ml"]
    assert tokens("电饭煲") == ["电", "饭", "煲", "电饭", "饭煲"]
    assert tokens("வாழைப்பழத்தை") == ["வாழைப்பழத்தை", "வாழைப"[:5]]
    assert tokens("!?") == []


def test_the_shipped_corpora_are_what_their_parts_make() -> None:
    import subprocess
    import sys

    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "prompts/corpora/src/build.py", "--check"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    recipes = load_corpus(
        "recipes",
        CorpusSource(path=Path("recipes.jsonl"), fields=("name", "steps", "ingredients", "minutes"), text=("name",)),
        root / "prompts" / "corpora",
    )
    products = load_corpus(
        "products",
        CorpusSource(path=Path("products.jsonl"), fields=("name", "price"), text=("name",)),
        root / "prompts" / "corpora",
    )
    assert len(recipes) >= 150
    assert len(products) >= 300
    for language in ("en", "zh", "ms", "ta"):
        texts = [str(document["name"]) for document in recipes.documents(language)]
        assert len(set(texts)) > 0.97 * len(texts)
        for document in recipes.documents(language):
            assert 3 <= len(document["steps"]) <= 9  # type: ignore[arg-type]
            assert "{" not in " ".join(document["steps"])  # type: ignore[arg-type]


def test_a_graph_that_is_no_graph_is_listed_as_broken(tmp_path: Path) -> None:
    from synth.graph import load_graphs

    write(tmp_path)
    (tmp_path / "dialogue" / "odd.yaml").write_text("description: [", encoding="utf-8")
    found = {one.name: one for one in load_graphs([tmp_path / "dialogue"])}
    assert isinstance(found["tiny"], Graph)
    assert "broken YAML" in found["odd"].error  # type: ignore[union-attr]
    assert isinstance(
        Chain(found["tiny"], {"shop": load_corpus("shop", found["tiny"].corpora["shop"], tmp_path / "dialogue")}), Chain
    )
