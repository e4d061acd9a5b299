"""Models whose initialize loads models."""

import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.python.python_models.models import IDENTITY, config


def loading(name: str, call: str = "load_model") -> str:
    """The identity, which loads another model first."""
    return IDENTITY.replace(
        "    def execute",
        f"    def initialize(self, args): pb_utils.{call}({name!r})\n\n    def execute",
        1,
    )


def test_a_model_loads_another_that_waits_for_the_only_thread(serve):
    models = {name: (config(), loading("target")) for name in ("first", "second")}
    server = serve(
        {**models, "target": (config(), IDENTITY)},
        "--model-control-mode=explicit",
        "--load-model=*",
        "--model-load-thread-count=1",
    )
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        assert all(client.is_model_ready(name) for name in ("first", "second", "target"))


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("itself", r"\(itself -> itself\)"),
        ("unloading", r"\(unloading -> unloading\)"),
        ("back", r"\(forth -> back -> forth\)"),
    ],
)
def test_a_load_that_would_wait_for_itself_is_refused(serve, name, chain):
    models = {
        "itself": (config(), loading("itself")),
        "unloading": (config(), loading("unloading", "unload_model")),
        "back": (config(), loading("forth")),
        "forth": (config(), loading("back")),
    }
    server = serve(models, "--model-control-mode=explicit")
    with grpcclient.InferenceServerClient(server.url("grpc")) as client:
        with pytest.raises(InferenceServerException, match=chain):
            client.load_model(name, client_timeout=60)
        assert not client.is_model_ready(name)
