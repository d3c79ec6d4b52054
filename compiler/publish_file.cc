#include "compiler/publish_file.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <system_error>

namespace attune {
namespace {

Error disk_error(std::string_view what, const std::filesystem::path& path, int number) {
  const char* remedy = number == ENOSPC || number == EDQUOT || number == EFBIG ? "; free some space" : "";
  return fail("cannot {} {}: {}{}", what, path.string(), std::system_category().message(number), remedy);
}

Status write_whole(int file, const std::filesystem::path& path, std::string_view bytes,
                   const DiskCalls& disk) {
  while (!bytes.empty()) {
    const ssize_t written = disk.write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return disk_error("write", path, errno);
    if (written == 0) return disk_error("write", path, ENOSPC);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Status sync_folder(const std::filesystem::path& folder, const DiskCalls& disk) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return disk_error("open", folder, errno);
  const int synced = disk.fsync(file);
  const int number = errno;
  ::close(file);
  // Some network file systems cannot sync a folder; the file itself is safe there.
  if (synced != 0 && number != EINVAL && number != ENOTSUP) return disk_error("sync", folder, number);
  return {};
}

}  // namespace

Status publish_file(const std::filesystem::path& path, std::string_view bytes, const DiskCalls& disk,
                    PowerCut may_be) {
  static std::atomic<unsigned> counter{0};
  std::filesystem::path temporary = path;
  temporary += fmt::format("{}{}.{}", kTemporaryMark, ::getpid(), counter.fetch_add(1));
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0) return disk_error("create", temporary, errno);
  Status status = write_whole(file, temporary, bytes, disk);
  // Unlike a check on close, fsync reports what a full or failing disk has lost.
  if (status && may_be == PowerCut::none && disk.fsync(file) != 0)
    status = disk_error("sync", temporary, errno);
  if (::close(file) != 0 && status) status = disk_error("write", temporary, errno);
  if (status && ::rename(temporary.c_str(), path.c_str()) != 0) status = disk_error("rename to", path, errno);
  if (!status) {
    ::unlink(temporary.c_str());
    return status;
  }
  return may_be == PowerCut::none ? sync_folder(path.parent_path(), disk) : Status{};
}

}  // namespace attune
