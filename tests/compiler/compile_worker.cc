// The child's side of compiling in processes, as a program of its own for the tests.
#include "compiler/nvrtc_processes.h"

int main() {
  return attune::run_compile_worker();
}
