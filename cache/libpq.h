// PostgreSQL's client library, opened at run time as the CUDA driver is: who never names a server needs none.
// Private to cache/.
#pragma once

#include <libpq-fe.h>

#include "base/result.h"

namespace attune::libpq {

// Everything of libpq that attune calls.
// The tool never settles on a layout for such lists.
// clang-format off
#define ATTUNE_PQ_FUNCTIONS(X) \
  X(PQconnectdbParams) X(PQfinish) X(PQstatus) X(PQerrorMessage) X(PQserverVersion) X(PQsocket) \
  X(PQsetnonblocking) X(PQsendQuery) X(PQsendQueryParams) X(PQflush) X(PQconsumeInput) X(PQisBusy) \
  X(PQgetResult) X(PQresultStatus) X(PQresultErrorField) X(PQresultErrorMessage) X(PQcmdStatus) X(PQntuples) \
  X(PQgetvalue) X(PQgetlength) X(PQgetisnull) X(PQftype) X(PQclear) X(PQconninfoParse) X(PQconninfoFree) \
  X(PQfreemem) X(PQsetNoticeProcessor)
// clang-format on

struct Table {
#define ATTUNE_DECLARE(function) decltype(&::function) function = nullptr;
  ATTUNE_PQ_FUNCTIONS(ATTUNE_DECLARE)
#undef ATTUNE_DECLARE
};

// The library, opened once for the process: libpq.so.5, or what ATTUNE_LIBPQ names. It stays open. An error
// says what to install. Thread safe.
Result<const Table*> open();

}  // namespace attune::libpq
