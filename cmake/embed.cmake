# cmake -DSOURCE=... -DDIR=... -P embed.cmake: writes corpus.txt and embed_table.c into DIR from the
# lists there. The files' bytes enter the object by .incbin, so only names and sizes are in the C file.
file(READ ${DIR}/presets.list presets)
file(READ ${DIR}/corpus.list sources)

file(WRITE ${DIR}/corpus.txt "")
foreach(name IN LISTS sources)
  file(READ "${SOURCE}/${name}" content)
  file(APPEND ${DIR}/corpus.txt "==== ${name}\n")
  file(APPEND ${DIR}/corpus.txt "${content}")
endforeach()

set(names ${presets} corpus.txt)
list(SORT names COMPARE STRING)
set(index 0)
set(blocks "")
set(rows "")
foreach(name IN LISTS names)
  set(path "${SOURCE}/${name}")
  if(name STREQUAL corpus.txt)
    set(path "${DIR}/corpus.txt")
  endif()
  file(SIZE "${path}" size)
  string(APPEND blocks "extern const u8 embed_bytes_${index}[] __attribute__((visibility(\"hidden\")));\n"
    "__asm__(\".pushsection .rodata\\n.balign 16\\nembed_bytes_${index}:\\n\"\n"
    "        \".incbin \\\"${path}\\\"\\n.byte 0\\n.popsection\\n\");\n")
  string(APPEND rows "    {\"${name}\", embed_bytes_${index}, ${size}},\n")
  math(EXPR index "${index} + 1")
endforeach()
file(WRITE ${DIR}/embed_table.c
  "// Written by cmake/embed.cmake.\n#include \"base/embed.h\"\n\n${blocks}\n"
  "extern const embed_file embed_table[];\nextern const u32 embed_table_count;\n"
  "const embed_file embed_table[] = {\n${rows}};\nconst u32 embed_table_count = ${index};\n")
