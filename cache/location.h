// Where a database is, as users write it: a file, or a PostgreSQL server.
#pragma once

#include <string>
#include <string_view>

namespace attune {

// Whether it is a URI of a PostgreSQL database, as libpq takes it: postgresql://[user@][host][:port][/name]
// [?options], or postgres://.
bool is_server(std::string_view location);

// As it may be shown, logged and stored: passwords of a URI as "***". A file is what it is.
std::string shown(std::string_view location);

}  // namespace attune
