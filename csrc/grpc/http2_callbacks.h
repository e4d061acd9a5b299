// The nghttp2 callbacks of an Http2Session. Private to http2_session.cc.
#pragma once

#include "grpc/http2_session.h"

namespace fastserve {

// The callback table and session options, made once per process.
const nghttp2_session_callbacks* SessionCallbacks();
const nghttp2_option* SessionOptions();
// The provider that frames a stream's OutgoingBody.
nghttp2_data_provider BodyProvider(Http2Stream* stream);

}  // namespace fastserve
