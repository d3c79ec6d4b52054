# One library a top-level folder; headers are included as "folder/file.h" from the project's root.
add_library(attune_flags INTERFACE)
target_compile_options(attune_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Werror -Wno-psabi -ffunction-sections -fdata-sections)
target_link_options(attune_flags INTERFACE -Wl,--gc-sections)
if(CMAKE_UNITY_BUILD)  # files that share a translation unit see each other's names, which is no fault of theirs
  target_compile_options(attune_flags INTERFACE -Wno-shadow $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
endif()
set(attune_plain_in_fuzz "")
set(attune_instrumented $<NOT:$<BOOL:$<TARGET_PROPERTY:ATTUNE_PLAIN>>>)
if(ATTUNE_SANITIZE)
  target_compile_options(attune_flags INTERFACE
    $<${attune_instrumented}:-fsanitize=address,undefined;-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
  target_link_options(attune_flags INTERFACE -fsanitize=address,undefined)
endif()
if(ATTUNE_FUZZ)
  # What clang warns of beyond g++ is for the other builds to decide.
  target_compile_options(attune_flags INTERFACE -Wno-error $<${attune_instrumented}:-fsanitize=fuzzer-no-link>)
  # No target feeds these: they are linked, and built as fast as can be. Instrumented, they take four times as long.
  set(attune_plain_in_fuzz compiler http)
endif()

# attune_library(<folder> SOURCES ... [DEPENDS ...]): static library attune_<folder>.
function(attune_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(attune_${folder} STATIC ${ARG_SOURCES})
  target_include_directories(attune_${folder} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(attune_${folder} PUBLIC ${ARG_DEPENDS} PRIVATE attune_flags)
  if(folder IN_LIST attune_plain_in_fuzz)
    set_target_properties(attune_${folder} PROPERTIES ATTUNE_PLAIN ON)
    target_compile_options(attune_${folder} PRIVATE -O0 -g0)
  endif()
endfunction()

# attune_embed(<target> <symbol> FILES ...): makes each file's bytes part of the target.
# Generates "<symbol>.h" (in the binary tree, include it as "embedded/<symbol>.h") with
#   std::span<const attune::EmbeddedFile> <symbol>();
# whose entries have the file's name without folder and its contents.
function(attune_embed target symbol)
  cmake_parse_arguments(ARG "" "" "FILES" ${ARGN})
  set(dir ${PROJECT_BINARY_DIR}/embedded)
  set(asm "    .section .rodata\n")
  set(decls "")
  set(rows "")
  set(index 0)
  set(paths "")
  foreach(file ${ARG_FILES})
    get_filename_component(path ${file} ABSOLUTE)
    get_filename_component(name ${file} NAME)
    list(APPEND paths ${path})
    set(id "attune_embedded_${symbol}_${index}")
    string(APPEND asm "    .global ${id}\n    .hidden ${id}\n    .balign 16\n${id}:\n    .incbin \"${path}\"\n"
                      "    .global ${id}_end\n    .hidden ${id}_end\n${id}_end:\n    .byte 0\n")
    string(APPEND decls "extern const char ${id}[] __attribute__((visibility(\"hidden\")));\n"
                        "extern const char ${id}_end[] __attribute__((visibility(\"hidden\")));\n")
    string(APPEND rows "      {\"${name}\", {${id}, static_cast<std::size_t>(${id}_end - ${id})}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  string(APPEND asm "    .section .note.GNU-stack,\"\",@progbits\n")
  file(CONFIGURE OUTPUT ${dir}/${symbol}.S CONTENT "${asm}" @ONLY)
  file(CONFIGURE OUTPUT ${dir}/${symbol}.h CONTENT
"#pragma once\n#include <span>\n#include \"base/embedded_file.h\"\nnamespace attune {\nstd::span<const EmbeddedFile> ${symbol}();\n}\n" @ONLY)
  file(CONFIGURE OUTPUT ${dir}/${symbol}.cc CONTENT
"#include \"embedded/${symbol}.h\"\n\n#include <array>\n\nextern \"C\" {\n${decls}}\nnamespace attune {\nstd::span<const EmbeddedFile> ${symbol}() {\n  static const std::array<EmbeddedFile, ${index}> files{{\n${rows}  }};\n  return files;\n}\n}\n" @ONLY)
  set_source_files_properties(${dir}/${symbol}.S PROPERTIES OBJECT_DEPENDS "${paths}")
  target_sources(${target} PRIVATE ${dir}/${symbol}.S ${dir}/${symbol}.cc)
endfunction()
