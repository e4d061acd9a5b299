#include "http/response_head.h"

namespace fastserve {

std::string_view HttpReason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

std::string BuildResponseHead(const ResponseHead& head) {
  std::string text;
  constexpr std::size_t kTypicalSize = 192;
  text.reserve(kTypicalSize);
  text.append("HTTP/1.1 ")
      .append(std::to_string(head.status))
      .append(" ")
      .append(HttpReason(head.status));
  if (head.json_size > 0) {
    text.append("\r\nContent-Type: application/octet-stream\r\nInference-Header-Content-Length: ");
    text.append(std::to_string(head.json_size));
  } else {
    text.append("\r\nContent-Type: application/json");
  }
  text.append("\r\nContent-Length: ").append(std::to_string(head.content_length));
  if (!head.keep_alive) {
    text.append("\r\nConnection: close");
  } else if (head.minor_version == 0) {
    text.append("\r\nConnection: keep-alive");
  }
  text.append("\r\n\r\n");
  return text;
}

}  // namespace fastserve
