#include <attune/attune.h>
#include <stdio.h>

int main(void) {
  const attune_open_options options = {.struct_size = sizeof options, .database = "/nonexistent/attune.db"};
  attune_library* library = NULL;
  const attune_status status = attune_open(&options, &library);
  printf("attune %s: %s: %s\n", attune_version(), attune_status_name(status), attune_last_error());
  return status == ATTUNE_DATABASE ? 0 : 1;
}
