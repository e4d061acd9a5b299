"""The command line: every form Triton accepts, and errors that say what to write."""

from dataclasses import fields

import pytest
from fastserve import cli
from fastserve.cli import BadOptionError, docs_page, flag_fields, help_text, parse
from fastserve.options import Options, backend_settings
from hypothesis import given
from hypothesis import strategies as st

REPOSITORY = "--model-repository=r"


def test_defaults_are_tritons():
    options = parse([REPOSITORY])
    assert (options.http_port, options.grpc_port, options.metrics_port) == (8000, 8001, 8002)
    assert options.exit_timeout_secs == 30
    assert options.strict_readiness
    assert options.exit_on_error
    assert options.model_control_mode == "none"
    assert options.http_max_input_size == 64 * 1024 * 1024
    assert options.warnings == []


def test_both_forms_and_aliases_set_the_same_field():
    forms = (["--http-port=1"], ["--http-port", "1"])
    assert [parse([REPOSITORY, *form]).http_port for form in forms] == [1, 1]
    assert parse(["--model-store", "a", "--model-repository=b"]).model_repository == ["a", "b"]
    assert parse([REPOSITORY, "--rate-limiter=off"]).rate_limit == "off"


@pytest.mark.parametrize("text", ["true", "TRUE", "on", "1"])
def test_true_has_three_spellings(text):
    assert parse([REPOSITORY, f"--reuse-http-port={text}"]).reuse_http_port


@pytest.mark.parametrize("text", ["false", "False", "off", "0"])
def test_false_has_three_spellings(text):
    assert not parse([REPOSITORY, f"--allow-http={text}"]).allow_http


def test_verbosity_is_a_level_or_a_bool():
    assert [
        parse([REPOSITORY, f"--log-verbose={v}"]).log_verbose for v in ("3", "true", "off")
    ] == [3, 1, 0]


def test_what_production_guides_print_is_accepted():
    options = parse(
        [
            REPOSITORY,
            "--strict-model-config=false",
            "--exit-on-error=false",
            "--log-verbose=1",
            "--pinned-memory-pool-byte-size=1",
            "--cuda-memory-pool-byte-size=0:1",
            "--backend-directory=/x",
        ]
    )
    assert options.auto_complete_config
    assert [warning.split()[0] for warning in options.warnings] == [
        "--pinned-memory-pool-byte-size",
        "--cuda-memory-pool-byte-size",
    ]
    assert all("has no effect" in warning for warning in options.warnings)


def test_two_flags_switch_completion_off():
    for flag in ("--disable-auto-complete-config", "--strict-model-config=true"):
        assert not parse([REPOSITORY, flag]).auto_complete_config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "Unexpected argument: x"),
        (["--http-prot=1"], 'Bad option: "--http-prot".\nUnknown flag. Did you mean --http-port?'),
        (["--model-repositories=x"], "Did you mean --model-repository?"),
        (["--http-port=x"], "Bad option: \"--http-port\".\n'x' is not an integer"),
        (["--http-port=70000"], "at most 65535"),
        (["--allow-http=maybe"], "'maybe' is not a bool"),
        (["--log-format=json"], "not one of default, ISO8601"),
        (["--grpc-infer-thread-count=1"], "at least 2"),
        (["--http-port"], "It needs a value."),
        (["--disable-auto-complete-config=true"], "it takes no value"),
        (
            ["--model-control-mode=poll"],
            "Unsupported: polling is not offered yet; use --model-control-mode=explicit",
        ),
        (["--cache-config=local,size=x"], "Bad option: \"--cache-config\".\nsize is 'x'"),
        (["--grpc-use-ssl=true"], "Unsupported"),
        (["--allow-client-shm=true"], "Unsupported"),
        (["--http-port=8001"], "Port 8001 is used by --http-port as well"),
        (
            ["--load-model=m"],
            "Error: Use of '--load-model' requires setting '--model-control-mode=explicit' as "
            "well.",
        ),
        (
            ["--model-control-mode=explicit", "--load-model=*", "--load-model=m"],
            "must be the ONLY startup model",
        ),
        (["--backend-config=x"], "not [<backend>,]<key>=<value>"),
        (["--backend-config=default-max-batch-size=x"], "must be a number"),
        (["--metrics-config=nope=1"], "not a known setting"),
        (["--metrics-config=summary_latencies=maybe"], "expected true or false"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments, message):
    with pytest.raises(BadOptionError) as error:
        parse([REPOSITORY, *arguments])
    assert message in str(error.value)


def test_a_repository_is_needed():
    with pytest.raises(BadOptionError, match="--model-repository must be specified"):
        parse([])


def test_ports_may_be_shared_by_services_that_are_off_or_on_other_addresses():
    parse([REPOSITORY, "--http-port=8001", "--allow-grpc=false"])
    parse(
        [
            REPOSITORY,
            "--http-port=9",
            "--grpc-port=9",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.2",
        ]
    )
    parse([REPOSITORY, "--http-port=0", "--grpc-port=0", "--metrics-port=0"])


def test_metrics_listen_where_http_does_unless_told():
    assert parse([REPOSITORY, "--http-address=127.0.0.1"]).metrics_listen_address == "127.0.0.1"
    assert parse([REPOSITORY, "--metrics-address=127.0.0.2"]).metrics_listen_address == "127.0.0.2"


def test_backend_settings_are_sorted_by_backend():
    options = parse(
        [
            REPOSITORY,
            "--backend-config=default-max-batch-size=8",
            "--backend-config=onnxruntime,a-b=c=d",
        ]
    )
    assert backend_settings(options) == {
        "": {"default-max-batch-size": "8"},
        "onnxruntime": {"a-b": "c=d"},
    }


def test_every_flag_is_in_the_help_and_in_the_docs():
    names = [item.name.replace("_", "-") for item in fields(Options) if "flag" in item.metadata]
    assert len(names) > 80
    for name in names:
        assert f"  --{name}" in help_text()
        assert f"`--{name}`" in docs_page()


def test_help_ends_well_and_a_bad_flag_does_not(capsys):
    assert cli.main(["--help"]) == 0
    assert "--model-repository" in capsys.readouterr().out
    assert cli.main(["--nope"]) == 1
    assert 'Bad option: "--nope".' in capsys.readouterr().err


@given(
    st.lists(
        st.one_of(
            st.text(max_size=20),
            st.sampled_from([f"--{name}" for name in flag_fields()]),
            st.builds("--{}={}".format, st.sampled_from(list(flag_fields())), st.text(max_size=8)),
        ),
        max_size=6,
    )
)
def test_any_arguments_parse_or_are_a_bad_option(arguments):
    try:
        options = parse(arguments)
    except BadOptionError as error:
        told = str(error)
    else:
        told = options.model_repository
    assert told
