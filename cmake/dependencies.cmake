# Third-party libraries. What Debian offers as an archive is linked statically; of fmt, which is shared only, an archive
# is made here (fmt.cc), and spdlog, which one file uses, is header-only: one built binary runs on another Linux with
# nothing but libcurl and NVRTC beside it.
find_package(Threads REQUIRED)

# Each thing that is missing is named with the Debian package that has it.
function(attune_missing what debian)
  message(FATAL_ERROR "${what} is not installed (Debian: ${debian}). `./dev packages` lists all that a build needs.")
endfunction()

macro(attune_package name debian)
  find_package(${name} QUIET)
  if(NOT ${name}_FOUND)
    attune_missing(${name} ${debian})
  endif()
endmacro()
attune_package(nlohmann_json nlohmann-json3-dev)
attune_package(CLI11 libcli11-dev)
attune_package(fmt libfmt-dev)
attune_package(spdlog libspdlog-dev)
attune_package(CURL libcurl4-openssl-dev)

# cuda.h and nvrtc.h are needed to build; libcuda and libnvrtc are opened at run time, never linked.
find_package(CUDAToolkit 13.0 QUIET)
find_path(ATTUNE_CUDA_INCLUDE_DIR nvrtc.h
  HINTS ${CUDAToolkit_INCLUDE_DIRS} ENV CUDA_HOME PATH_SUFFIXES include
  PATHS /usr/local/cuda/include
  DOC "Folder with cuda.h and nvrtc.h of the CUDA toolkit 13")
if(NOT ATTUNE_CUDA_INCLUDE_DIR)
  message(FATAL_ERROR "nvrtc.h of the CUDA toolkit 13 was not found: install cuda-cudart-dev-13-0, cuda-crt-13-0 and "
                      "cuda-nvrtc-dev-13-0 from NVIDIA's Debian repository, or set CUDA_HOME.")
endif()

# libpq-fe.h is needed to build; libpq is opened at run time by who names a PostgreSQL database, never linked.
find_path(ATTUNE_LIBPQ_INCLUDE_DIR libpq-fe.h PATH_SUFFIXES postgresql
  DOC "Folder with libpq-fe.h of PostgreSQL's client library")
if(NOT ATTUNE_LIBPQ_INCLUDE_DIR)
  attune_missing(libpq-fe.h libpq-dev)
endif()
add_library(attune_third_party_libpq_headers INTERFACE IMPORTED GLOBAL)
set_target_properties(attune_third_party_libpq_headers PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${ATTUNE_LIBPQ_INCLUDE_DIR}")

function(attune_static_library name archive header debian)
  find_library(${name}_ARCHIVE ${archive})
  find_path(${name}_INCLUDE_DIR ${header})
  if(NOT ${name}_ARCHIVE OR NOT ${name}_INCLUDE_DIR)
    attune_missing("${archive} or ${header}" ${debian})
  endif()
  add_library(attune_third_party_${name} STATIC IMPORTED GLOBAL)
  set_target_properties(attune_third_party_${name} PROPERTIES
    IMPORTED_LOCATION "${${name}_ARCHIVE}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${${name}_INCLUDE_DIR}")
endfunction()

attune_static_library(sqlite3 libsqlite3.a sqlite3.h libsqlite3-dev)
attune_static_library(zlib libz.a zlib.h zlib1g-dev)
attune_static_library(sodium libsodium.a sodium.h libsodium-dev)
set_property(TARGET attune_third_party_sqlite3 PROPERTY INTERFACE_LINK_LIBRARIES Threads::Threads ${CMAKE_DL_LIBS} m)

# fmt.cc instantiates by name what the headers of fmt 9 and 10 leave to the library. Another release may leave
# something else: then header-only, which is slower to build and otherwise the same.
try_compile(ATTUNE_FMT_ARCHIVE ${CMAKE_CURRENT_BINARY_DIR}/fmt_links
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/fmt.cc ${CMAKE_CURRENT_LIST_DIR}/fmt_links.cc CXX_STANDARD 20)
if(ATTUNE_FMT_ARCHIVE)
  add_library(attune_third_party_fmt STATIC ${CMAKE_CURRENT_LIST_DIR}/fmt.cc)
  target_compile_options(attune_third_party_fmt PRIVATE -O2 -ffunction-sections -fdata-sections)
else()
  add_library(attune_third_party_fmt INTERFACE)
  target_link_libraries(attune_third_party_fmt INTERFACE fmt::fmt-header-only)
endif()
