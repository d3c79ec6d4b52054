// {fmt} compiled once, as an archive of our own: Debian has it as a shared library or header-only, and header-only
// costs each file that formats a third of its compile time. What follows are the templates that {fmt}'s headers
// declare and leave to the library to instantiate (of {fmt} 9 and 10; dependencies.cmake tries whether it links).
#include <fmt/format-inl.h>

FMT_BEGIN_NAMESPACE
namespace detail {
template auto thousands_sep_impl<char>(locale_ref) -> thousands_sep_result<char>;
template auto decimal_point_impl<char>(locale_ref) -> char;
template auto dragonbox::to_decimal<float>(float) noexcept -> dragonbox::decimal_fp<float>;
template auto dragonbox::to_decimal<double>(double) noexcept -> dragonbox::decimal_fp<double>;
template void buffer<char>::append<char>(const char*, const char*);
}  // namespace detail
FMT_END_NAMESPACE
