# What Slicer would tell the Extensions Manager, for the test to read.
file(WRITE ${CMAKE_BINARY_DIR}/extension.txt "")
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "${name}=${EXTENSION_${name}}\n")
endforeach()
file(APPEND ${CMAKE_BINARY_DIR}/extension.txt "NAME=${PROJECT_NAME}\n")
