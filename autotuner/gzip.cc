#include "autotuner/gzip.h"

#include <zlib.h>

#include <array>
#include <limits>
#include <stdexcept>

namespace attune {
namespace {

constexpr int kGzipWindow = 15 + 16;  // zlib.h: the largest window, with a gzip header and trailer
constexpr std::size_t kMaxUnpacked = std::size_t{1} << 30;

// zlib's input pointer is not const in its older headers, and nothing is written to it.
void set_input(z_stream& stream, std::string_view bytes) {
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

Result<std::string> unpack(std::string_view bytes, bool first_line_only) {
  if (bytes.size() < 2 || bytes[0] != '\x1f' || bytes[1] != '\x8b') return fail("is not gzip data");
  if (bytes.size() > std::numeric_limits<uInt>::max()) return fail("is too large");
  z_stream stream{};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) throw std::bad_alloc();
  struct End {
    z_stream* stream;
    ~End() { inflateEnd(stream); }
  } end{&stream};
  set_input(stream, bytes);

  std::string out;
  std::array<char, 1 << 16> buffer;
  int state = Z_OK;
  while (state != Z_STREAM_END) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    state = inflate(&stream, Z_NO_FLUSH);
    if (state == Z_BUF_ERROR) return fail("is cut short");
    if (state != Z_OK && state != Z_STREAM_END) return fail("is damaged");
    out.append(buffer.data(), buffer.size() - stream.avail_out);
    if (first_line_only) {
      const std::size_t newline = out.find('\n');
      if (newline != std::string::npos) return out.substr(0, newline);
    }
    if (out.size() > kMaxUnpacked) return fail("unpacks to more than 1 GiB");
  }
  if (stream.avail_in > 0) return fail("is damaged: {} bytes follow its end", stream.avail_in);
  return out;
}

}  // namespace

std::string gzip(std::string_view bytes) {
  constexpr int kMemoryLevel = 9;
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzipWindow, kMemoryLevel, Z_DEFAULT_STRATEGY) !=
      Z_OK) {
    throw std::bad_alloc();
  }
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  set_input(stream, bytes);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int state = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (state != Z_STREAM_END) throw std::logic_error("deflateBound was too small");
  return out;
}

Result<std::string> gunzip(std::string_view bytes) {
  return unpack(bytes, false);
}
Result<std::string> gunzip_first_line(std::string_view bytes) {
  return unpack(bytes, true);
}

}  // namespace attune
