"""The gRPC front end: the native server of the core, and its administrative calls in Python."""

from fastserve.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
