"""Starting the app: settings are checked, the index is brought up to date, then Streamlit serves in this process until Ctrl-C."""

import ipaddress
import socket
from pathlib import Path

from curation.errors import InputError
from curation.review.index import behind, refresh
from ui import session
from ui.config import UiSettings
from ui.look import THEME
from ui.pages import load_all

SECRETS = Path(".streamlit/secrets.toml")
SLOW = 50_000  # rows to take in from which on a person is told why they wait

OPTIONS = {
    "server.headless": True,
    "server.showEmailPrompt": False,
    "server.fileWatcherType": "none",
    "server.runOnSave": False,
    "server.maxUploadSize": 200,
    "browser.gatherUsageStats": False,
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "runner.magicEnabled": False,
    "logger.level": "error",
    "logger.hideWelcomeMessage": True,
    **THEME,
}


def ui_command(settings: UiSettings) -> int:
    """Serve until interrupted.

    Raises:
        InputError: the address is open to others without a login, or the port is taken.
        WorkspaceError: the store cannot be read or written.
    """
    local = _is_loopback(settings.address)
    if settings.auth == "name" and not local:
        raise InputError(
            f"address={settings.address}: others could reach the app and decide under any name, as auth=name asks for no login; "
            "keep address=127.0.0.1 (and tunnel, e.g. ssh -L), or set up auth=oidc"
        )
    if settings.auth == "oidc" and not _has_login():
        raise InputError(
            f"auth=oidc: {SECRETS} has no [auth] section with redirect_uri, cookie_secret, client_id, client_secret and "
            "server_metadata_url; see docs/review.md"
        )
    _claim(settings.address, settings.port)
    with session.serving(settings) as served:
        if (count := behind(served.store)) > SLOW:
            print(f"taking in {count:,} new rows ...", flush=True)
        refresh(served.store)
        served.watch()
        load_all()
        host = "localhost" if local else settings.address
        print(
            f"Tilth review app: http://{host}:{settings.port} · workspace {settings.workspace} · Ctrl-C stops it",
            flush=True,
        )
        _streamlit(settings, local=local)
    print("stopped; every decision is stored")
    return 0


def _streamlit(settings: UiSettings, *, local: bool) -> None:
    from streamlit.web import bootstrap

    options = {
        **OPTIONS,
        "server.port": settings.port,
        "server.address": settings.address,
        # another site's name that resolves to this machine must not get in (DNS rebinding)
        "server.allowedHosts": ["localhost", "127.0.0.1", "[::1]", "::1"] if local else [],
    }
    bootstrap.load_config_options(options)
    bootstrap.run(str(Path(__file__).with_name("app.py")), False, [], options)


def _is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _has_login() -> bool:
    import tomllib

    for path in (SECRETS, Path.home() / SECRETS):
        if path.is_file():
            try:
                auth = tomllib.loads(path.read_text(encoding="utf-8")).get("auth")
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: broken TOML: {error}") from error
            if isinstance(auth, dict) and auth.get("redirect_uri") and auth.get("cookie_secret"):
                return True
    return False


def _claim(address: str, port: int) -> None:
    """See that the port is free now: Streamlit would say so too late and at length."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            raise InputError(f"port={port}: this user may not listen there; try port=8501") from None
        except OSError as error:
            if error.errno in (98, 48):
                raise InputError(
                    f"port={port}: something else listens there; stop it, or take another: `ui port={_free(address, family)}`"
                ) from None
            raise InputError(f"address={address}: cannot be listened on here: {error.strerror}") from None


def _free(address: str, family: socket.AddressFamily) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])
