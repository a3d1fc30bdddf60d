#!/bin/sh
# Run by the nginx image before it renders the templates. The run folder may be an empty tmpfs, so it is filled here:
# what nginx writes as its access log becomes output of the container.
set -eu
mkdir -p "$MARINA_FILES_RUN"
ln -sf /dev/stdout "$MARINA_FILES_RUN/access.log"
