// Where attune keeps what it learns: the one owner of the cache module's default paths.
#pragma once

#include <filesystem>

namespace attune {

// ATTUNE_CACHE_DIR, else $XDG_CACHE_HOME/attune, else ~/.cache/attune (HOME, else the password database;
// where there is neither, attune-<uid> in the folder for temporary files). A variable that is empty counts as
// unset, as does a relative XDG_CACHE_HOME (XDG Base Directory Specification). Nothing is created.
std::filesystem::path cache_folder();

// $XDG_CONFIG_HOME/attune, else ~/.config/attune; empty where there is no home. Nothing is created.
std::filesystem::path config_folder();

}  // namespace attune
