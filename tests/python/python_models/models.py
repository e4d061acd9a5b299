"""The Python models that the tests serve, as their users would write them."""

from pathlib import Path
from textwrap import dedent

from tests.models.ensembles import chain, ensemble

EXECUTE = "import numpy as np\nimport triton_python_backend_utils as pb_utils\n\n\n"


def config(
    kind: str = "FP32", batch: int = 8, more: str = "", *, decoupled: bool = False, dims: int = -1
) -> str:
    text = f"""backend: "python"
max_batch_size: {batch}
input [ {{ name: "INPUT0" data_type: TYPE_{kind} dims: [ {dims} ] }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{kind} dims: [ {dims} ] }} ]
"""
    if decoupled:
        text += "model_transaction_policy { decoupled: true }\n"
    return text + more


def model(body: str) -> str:
    """A model.py with a class of these methods."""
    methods = "\n".join(f"    {line}" if line else "" for line in dedent(body).strip().split("\n"))
    return f"{EXECUTE}class TritonPythonModel:\n{methods}\n"


def answering(expression: str) -> str:
    """A model that answers every request with an expression of its input `x` and `request`."""
    return model(f"""
        def execute(self, requests):
            return [self.answer(request) for request in requests]

        def answer(self, request):
            x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", {expression})])
        """)


def write_python_model(repository: Path, name: str, config_text: str, code: str) -> Path:
    folder = repository / name
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text(config_text)
    if code:
        (folder / "1" / "model.py").write_text(code)
    return folder


IDENTITY = answering("x")

ASYNC = model("""
    async def execute(self, requests):
        import asyncio

        await asyncio.sleep(0.01)
        responses = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x + 1)]))
        return responses
    """)

# The first number says what goes wrong.
FAILING = model("""
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        code = int(x.ravel()[0])
        if code == 100:
            raise ValueError("all of the batch")
        if code == 101:
            return "no response"
        if code >= 0:
            return pb_utils.InferenceResponse([], pb_utils.TritonError(f"code {code}", code))
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x)])
    """)

ABOUT = model("""
    def initialize(self, args):
        import json

        self.config = json.loads(args.pop("model_config"))
        self.args = args

    def execute(self, requests):
        import json

        responses = []
        for request in requests:
            about = {
                "args": self.args,
                "output": pb_utils.get_output_config_by_name(self.config, "OUTPUT0"),
                "id": request.request_id(),
                "correlation_id": request.correlation_id(),
                "flags": request.flags(),
                "timeout": request.timeout(),
                "parameters": json.loads(request.parameters() or "{}"),
                "outputs": list(request.requested_output_names()),
                "dir": pb_utils.get_model_dir(),
            }
            text = np.array([[json.dumps(about).encode()]], np.object_)
            responses.append(
                pb_utils.InferenceResponse(
                    [pb_utils.Tensor("OUTPUT0", text)], parameters={"answer": 42, "name": "about"}
                )
            )
        return responses
    """)

COMPLETING = model("""
    @staticmethod
    def auto_complete_config(config):
        config.set_max_batch_size(4)
        config.add_input({"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [-1]})
        config.add_output({"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [-1]})
        config.set_dynamic_batching()
        return config

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("OUTPUT0", request.inputs()[0].as_numpy())]
            )
            for request in requests
        ]
    """)

# One response per number, from a thread that goes on after execute returned.
STREAM = model("""
    def execute(self, requests):
        import threading

        for request in requests:
            threading.Thread(
                target=self.send, args=(request.get_response_sender(), request.inputs()[0])
            ).start()
        return None

    def send(self, sender, tensor):
        for value in tensor.as_numpy().ravel():
            if value < 0:
                sender.send(
                    pb_utils.InferenceResponse(error=pb_utils.TritonError(f"negative {value:g}"))
                )
                continue
            output = pb_utils.Tensor("OUTPUT0", np.array([[value]], np.float32))
            sender.send(pb_utils.InferenceResponse([output]))
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """)

# Sends until the client goes away, then writes how many it sent to the file it was told of.
ENDLESS = model("""
    def execute(self, requests):
        import json
        import threading

        for request in requests:
            path = json.loads(request.parameters())["path"]
            threading.Thread(target=self.send, args=(request.get_response_sender(), path)).start()
        return None

    def send(self, sender, path):
        import time
        from pathlib import Path

        sent = 0
        while not sender.is_cancelled():
            output = pb_utils.Tensor("OUTPUT0", np.full((1, 1024), sent, np.float32))
            sender.send(pb_utils.InferenceResponse([output]))
            sent += 1
            time.sleep(0.001)
        sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        Path(path).write_text(str(sent))
    """)

# Coroutines that send the first number of responses of 64 KiB each.
ASYNC_STREAM = model("""
    async def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            for at in range(int(request.inputs()[0].as_numpy().ravel()[0])):
                output = pb_utils.Tensor("OUTPUT0", np.full((1, 16384), at, np.float32))
                sender.send(pb_utils.InferenceResponse([output]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """)

# Streams its input, which it changes between the responses.
IN_PLACE_STREAM = model("""
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            x = request.inputs()[0].as_numpy()
            for _ in range(4):
                x += 1
                sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x)]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    """)

# Keeps what it has returned and goes on adding to it.
KEEPING = model("""
    def execute(self, requests):
        responses = []
        for request in requests:
            x = request.inputs()[0].as_numpy()
            if hasattr(self, "sum"):
                self.sum += x
            else:
                self.sum = x
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", self.sum)]))
        return responses
    """)

_CALL = """
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        inner = pb_utils.InferenceRequest(
            model_name={target!r}, requested_output_names=["OUTPUT0"], inputs=request.inputs()
        ).exec()
        if inner.has_error():
            return pb_utils.InferenceResponse(error=inner.error())
        return pb_utils.InferenceResponse(inner.output_tensors())
    """


def calling(target: str) -> str:
    """A model that answers what another model answers."""
    return model(_CALL.format(target=target))


ASYNC_CALLING = model("""
    async def execute(self, requests):
        import asyncio

        calls = [
            pb_utils.InferenceRequest(
                model_name="identity", requested_output_names=["OUTPUT0"], inputs=request.inputs()
            ).async_exec()
            for request in requests
        ]
        return [
            pb_utils.InferenceResponse(answer.output_tensors())
            for answer in await asyncio.gather(*calls)
        ]
    """)

SUMMING_STREAM = model("""
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        answers = pb_utils.InferenceRequest(
            model_name="stream", requested_output_names=["OUTPUT0"], inputs=request.inputs()
        ).exec(decoupled=True)
        total = 0.0
        for answer in answers:
            if answer.has_error():
                return pb_utils.InferenceResponse(error=answer.error())
            if answer.output_tensors():
                total += float(answer.output_tensors()[0].as_numpy()[0, 0])
        output = pb_utils.Tensor("OUTPUT0", np.array([[total]], np.float32))
        return pb_utils.InferenceResponse([output])
    """)

CONTROLLING = model("""
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        action, name = (
            part.decode() for part in request.inputs()[0].as_numpy().ravel()
        )
        try:
            if action == "load":
                pb_utils.load_model(name)
            elif action == "unload":
                pb_utils.unload_model(name)
            result = str(pb_utils.is_model_ready(name))
        except pb_utils.TritonModelException as error:
            result = str(error)
        text = np.array([[result.encode()]], np.object_)
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", text)])
    """)

OBSERVED = model("""
    def initialize(self, args):
        family = pb_utils.MetricFamily(
            "rows_seen", "Rows that the model saw", pb_utils.MetricFamily.COUNTER
        )
        self.rows = family.Metric(labels={"model": args["model_name"]})
        pb_utils.Logger.log_warn("observed is ready")
        print("printed by the model", flush=True)

    def execute(self, requests):
        responses = []
        for request in requests:
            x = request.inputs()[0].as_numpy()
            self.rows.increment(x.shape[0])
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", x)]))
        return responses
    """)

# Keeps a sum per sequence.
SEQUENCE = model("""
    def initialize(self, args):
        self.sums = {}

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        number = request.correlation_id()
        if request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            self.sums[number] = 0
        x = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        self.sums[number] = self.sums[number] + x
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", self.sums[number])])
    """)

ENSEMBLE = """platform: "ensemble"
max_batch_size: 8
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
ensemble_scheduling {
  step [
    {
      model_name: "doubling" model_version: -1
      input_map { key: "INPUT0" value: "INPUT0" }
      output_map { key: "OUTPUT0" value: "twice" }
    },
    {
      model_name: "awaiting" model_version: -1
      input_map { key: "INPUT0" value: "twice" }
      output_map { key: "OUTPUT0" value: "OUTPUT0" }
    }
  ]
}
"""

_WIDE = (["INPUT0 FP32 [-1]"], ["OUTPUT0 FP32 [-1]"])


def chained(*members: str) -> tuple[str, str]:
    """An ensemble of these, one after the other."""
    return ensemble(chain(members), *_WIDE, max_batch_size=8), ""


BATCHED = "dynamic_batching { max_queue_delay_microseconds: 1000 }\n"
ONE_BY_ONE = "instance_group [ { count: 2 kind: KIND_CPU } ]\n"
DIRECT = "sequence_batching { max_sequence_idle_microseconds: 60000000 }\n"

MODELS = {
    "identity": (config(more=BATCHED), IDENTITY),
    "numbers": (config("INT32", batch=0), IDENTITY),
    "strings": (config("STRING"), IDENTITY),
    "doubling": (config(more=BATCHED), answering("x * 2")),
    "in_place": (config(), answering("np.add(x, 1, out=x)")),
    "tail": (config(batch=0), answering("x[2:]")),
    "strided": (config(batch=0), answering("x[::2]")),
    "awaiting": (config(more=BATCHED), ASYNC),
    "failing": (config(), FAILING),
    "about": (config("STRING"), ABOUT),
    "completing": ("", COMPLETING),
    "stream": (config(decoupled=True), STREAM),
    "async_stream": (config(decoupled=True), ASYNC_STREAM),
    "in_place_stream": (config(decoupled=True), IN_PLACE_STREAM),
    "keeping": (config(), KEEPING),
    "endless": (config(decoupled=True), ENDLESS),
    "calling": (config(), calling("identity")),
    "calling_calling": (config(), calling("calling")),
    "calling_ensemble": (config(), calling("pipeline")),
    "calling_nobody": (config(), calling("nobody")),
    "calling_itself": (config(), calling("calling_itself")),
    "calling_back": (config(), calling("calling_forth")),
    "calling_forth": (config(), calling("calling_back")),
    "async_calling": (config(more=BATCHED), ASYNC_CALLING),
    "summing_stream": (config(), SUMMING_STREAM),
    "controlling": (config("STRING", batch=0), CONTROLLING),
    "observed": (config(more=ONE_BY_ONE), OBSERVED),
    "sequence": (config(more=DIRECT), SEQUENCE),
    "pipeline": (ENSEMBLE, ""),
    "streaming": chained("doubling", "stream", "awaiting"),
    "streaming_nested": chained("doubling", "streaming", "awaiting"),
    "streaming_endless": chained("identity", "endless", "identity"),
    "streaming_twice": chained("stream", "in_place_stream"),
    "summing_streaming": (config(), SUMMING_STREAM.replace('"stream"', '"streaming"')),
}
