// The text of the .cuh files: those in the binary, or those of the folder given to use_kernel_directory().
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attune {

// Include name and contents of one file. An unknown name is a programming error and throws std::logic_error;
// a file missing from the folder in use throws std::runtime_error.
std::string kernel_file(std::string_view name);

// As KernelSource::headers wants them.
std::vector<std::pair<std::string, std::string>> kernel_files(const std::vector<std::string_view>& names);

// What AttentionTemplate::hash gives: of the files' names and texts and of a rendered prelude.
std::string hash_of_template(const std::string& prelude, const std::vector<std::string_view>& files);

}  // namespace attune
