// HTTP/1.1 on one connection of the load generator.
#include "perf/http_connection.h"

namespace fastserve::perf {

void HttpConnection::Submit(Exchange* exchange) {
  current_ = exchange;
  exchange->connection = this;
  const std::optional<std::string>& expected = exchange->request->expected;
  exchange->body.Reset(expected ? &*expected : nullptr, exchange->keep_bytes, 0);
  reader_.Start(&exchange->body);
}

Status HttpConnection::Abandon(Exchange* exchange) {
  current_ = nullptr;
  return Status::Unavailable("a request was given up");  // HTTP/1.1 has no other way than to close
}

Status HttpConnection::Flush() {
  if (current_ == nullptr || current_->written_ns != 0 || wants_write()) return Status::Ok();
  const std::string_view rest =
      std::string_view(current_->request->bytes).substr(current_->written);
  FASTSERVE_ASSIGN_OR_RETURN(const std::size_t sent, Send(rest));
  current_->written += sent;
  if (sent == rest.size()) current_->written_ns = MonotonicNs();
  return Status::Ok();
}

Status HttpConnection::OnBytes(std::string_view bytes) {
  if (current_ == nullptr)
    return Status::Unavailable("the server sent bytes that nobody asked for");
  if (current_->first_byte_ns == 0) current_->first_byte_ns = MonotonicNs();
  FASTSERVE_ASSIGN_OR_RETURN(const std::size_t used, reader_.Consume(bytes));
  if (!reader_.done()) return Status::Ok();
  Finish();
  return used == bytes.size() ? Status::Ok()
                              : Status::Unavailable("the server sent bytes after its answer");
}

Status HttpConnection::OnEnd() {
  if (current_ != nullptr) {
    FASTSERVE_RETURN_IF_ERROR(reader_.ConsumeEnd());
    Finish();
  }
  ended_ = true;
  return Status::Ok();
}

void HttpConnection::Finish() {
  Exchange* exchange = std::exchange(current_, nullptr);
  exchange->http_status = reader_.status();
  // An answer that came before the whole request was sent leaves the connection in the middle of
  // that request.
  ended_ = !reader_.keep_alive() || exchange->written_ns == 0;
  owner().OnFinished(exchange, Status::Ok());
}

}  // namespace fastserve::perf
