"""What the user of `ui` can set."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from curation.settings import Settings


class UiSettings(Settings):
    port: int = Field(default=8501, ge=1, le=65535)
    """The port to serve on."""
    address: str = "127.0.0.1"
    """The address to serve on; beyond this machine only with auth=oidc."""
    auth: Literal["name", "oidc"] = "name"
    """Who reviewers are: the name they type, or whom Streamlit's own login says they are (oidc)."""
    overlap: float = Field(default=0.1, ge=0, le=1)
    """Share of the examples that two people decide on, neither seeing the other's word."""
    runs_dir: Path = Path("runs")
    """The folder that holds the training runs, as `train` knows it."""
    evaluations_dir: Path = Path("evaluations")
    """The folder that holds the evaluations."""
