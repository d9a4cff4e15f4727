"""What a translation will cost, before anything is asked: wide bounds, from the length of the texts and of a few requests."""

from synth.pricing import Price
from synth.providers.base import Usage

AGAIN = 1.1  # requests made for one that is needed, at most: what is asked for a second time
BACK = (0.3, 1.0)  # length of what goes back, of what went there: Chinese is short
TOKENS = (0.2, 1.2)  # of a character: English at its best, Tamil at its worst


def expected_usd(
    price: Price | None, sent: float, texts: float, *, back: bool, batch: bool = False
) -> tuple[float, float] | None:
    """US dollars at least and at most; None if the price is not known.

    Args:
        sent: characters of the requests for the way there.
        texts: characters of what is translated, without instruction and markup.
    """
    if price is None:
        return None
    low, high = (
        price.cost(
            Usage(characters=round(sent * ways))
            if price.characters
            else Usage(input_tokens=round(sent * ways * tokens), output_tokens=round(texts * ways * tokens)),
            batch=batch,
        )
        for ways, tokens in zip((1 + BACK[0] * back, AGAIN + BACK[1] * back), TOKENS, strict=True)
    )
    return low, high
