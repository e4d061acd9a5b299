#include "memory/memfd_segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace fastserve {

namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

Status OutOf(const char* what, std::size_t size) {
  return Status::Unavailable("no shared memory of " + std::to_string(size) + " bytes: " + what +
                             ": " + strerrordesc_np(errno));
}

}  // namespace

Result<MemfdSegment::Created> MemfdSegment::Create(std::size_t size) {
  UniqueFd fd(memfd_create("fastserve", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return OutOf("memfd_create", size);
  if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) return OutOf("ftruncate", size);
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return OutOf("F_ADD_SEALS", size);
  FASTSERVE_ASSIGN_OR_RETURN(std::shared_ptr<MemfdSegment> segment, Map(fd.get(), size));
  return Created{std::move(segment), std::move(fd)};
}

Result<std::shared_ptr<MemfdSegment>> MemfdSegment::Adopt(UniqueFd fd, std::uint64_t size) {
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return Status::InvalidArgument(
        "the descriptor of a segment is not a memfd sealed against shrink, grow and seal");
  }
  struct stat status{};
  if (fstat(fd.get(), &status) != 0 || status.st_size <= 0 ||
      static_cast<std::uint64_t>(status.st_size) != size) {
    return Status::InvalidArgument("the memfd of a segment has " + std::to_string(status.st_size) +
                                   " bytes, announced were " + std::to_string(size));
  }
  return Map(fd.get(), size);
}

Result<std::shared_ptr<MemfdSegment>> MemfdSegment::Map(int fd, std::size_t size) {
  void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) return OutOf("mmap", size);
  return std::shared_ptr<MemfdSegment>(new MemfdSegment(static_cast<std::byte*>(data), size));
}

MemfdSegment::~MemfdSegment() { munmap(data_, size_); }

}  // namespace fastserve
