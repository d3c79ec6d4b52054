// Numbers and tables for people: three significant digits, units named.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attune::cli {

std::string significant(double value);      // "2.72", "0.0145", "405"
std::string milliseconds(double us);        // "2.72 ms"
std::string byte_size(std::int64_t bytes);  // "512 B", "1.50 MB" (powers of 1000)
std::string duration(double seconds);       // "0.412 s", "42.1 s", "3 min 20 s", "1 h 5 min"
std::string count_of(std::int64_t n, const char* one, const char* many);  // "1 trial", "12,345 trials"
std::string grouped(std::uint64_t n);                                     // "12,345"
double tflops(double flops, double us);                                   // TFLOP/s

// Columns padded to their widest cell, the first row being the head.
std::string table(const std::vector<std::vector<std::string>>& rows);

}  // namespace attune::cli
