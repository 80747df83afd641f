# Makes WEFT_EMBED_SOURCE, a C file with all embedded files, whenever one of them changes.
# Embedded are presets/**/*.yaml and *.weft, and corpus.txt: weft's own sources and docs, the default training text.
set(embed_dir ${CMAKE_BINARY_DIR}/embed)
set(WEFT_EMBED_SOURCE ${embed_dir}/embed_table.c)

file(GLOB_RECURSE preset_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/presets/*.yaml ${CMAKE_SOURCE_DIR}/presets/*.weft)
set(corpus_patterns ${CMAKE_SOURCE_DIR}/cmake/*.cmake)
foreach(folder base model sim mapper traces runtime presets docs tests)
  foreach(pattern *.c *.h *.md *.yaml CMakeLists.txt *.cmake)
    list(APPEND corpus_patterns ${CMAKE_SOURCE_DIR}/${folder}/${pattern})
  endforeach()
endforeach()
file(GLOB_RECURSE corpus_files CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} ${corpus_patterns})
file(GLOB corpus_top CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/CMakeLists.txt ${CMAKE_SOURCE_DIR}/README.md)
list(APPEND corpus_files ${corpus_top})
list(SORT preset_files COMPARE STRING)
list(SORT corpus_files COMPARE STRING)

# The lists travel in files: a command line has a limit.
file(GENERATE OUTPUT ${embed_dir}/presets.list CONTENT "${preset_files}")
file(GENERATE OUTPUT ${embed_dir}/corpus.list CONTENT "${corpus_files}")
set(embed_inputs ${preset_files} ${corpus_files})
list(TRANSFORM embed_inputs PREPEND ${CMAKE_SOURCE_DIR}/)
add_custom_command(
  OUTPUT ${WEFT_EMBED_SOURCE} ${embed_dir}/corpus.txt
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DDIR=${embed_dir}
          -P ${CMAKE_SOURCE_DIR}/cmake/embed.cmake
  DEPENDS ${embed_inputs} ${embed_dir}/presets.list ${embed_dir}/corpus.list cmake/embed.cmake
  COMMENT "Gathering presets and the training text"
  VERBATIM)
